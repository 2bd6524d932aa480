// Loaded into Portkey's gateway before its own code: it would listen on every address of the
// machine, as a relay to anywhere. Nothing else about it is changed.
const { Server } = require("node:net");

const listen = Server.prototype.listen;
Server.prototype.listen = function (port, host, ...rest) {
  return typeof port === "number" && host === undefined
    ? listen.call(this, port, "127.0.0.1", ...rest)
    : listen.call(this, port, host, ...rest);
};
