// The uploads and downloads under way, each with a row of its own.

import { $, icon, iconButton, make, say } from "./dom.js";
import { CallError, explained } from "./errors.js";
import { duration, Meter, progress, size } from "./format.js";
import { newKey, upload } from "./upload.js";
import { follow, save } from "./download.js";

/** Uploads at a time; the others wait. */
const AT_ONCE = 2;

export class Transfers {
  #api;
  #stored;
  #waiting = [];
  #running = new Set();

  /** @param stored - called with a file that was uploaded, and the provider it went to. */
  constructor(api, stored) {
    this.#api = api;
    this.#stored = stored;
    $("clear-transfers").addEventListener("click", () => this.#clear());
    window.addEventListener("beforeunload", (event) => {
      if (this.#running.size + this.#waiting.length > 0) event.preventDefault();
    });
  }

  /** Upload files to where the page's choices point now. */
  upload(files, { purpose, expiry, provider }) {
    for (const file of files) {
      const job = {
        file,
        provider,
        request: { file, purpose, expiry, url: this.#api.url, key: newKey() },
        row: new Row(file.name, "upload"),
        headers: this.#api.headers({ changes: true }),
      };
      if (provider.maxBytes !== null && file.size > provider.maxBytes) {
        const limit = `The file has ${size(file.size)}, and at most ${size(provider.maxBytes)} can be uploaded.`;
        job.row.failed(new CallError(limit));
      } else {
        this.#queue(job);
      }
      this.#show(job.row);
    }
    this.#next();
  }

  /** Download a file by a plain link, once it is known to be there. */
  async downloadPlainly(file) {
    const name = file.filename || file.id;
    const url = this.#api.contentUrl(file.id);
    await this.#api.fetch(url, { method: "HEAD" });
    follow(url, name);
    say(`The browser downloads ${name}.`);
  }

  /** Download a file to a target, or into memory. */
  async download(file, target) {
    const name = file.filename || file.id;
    const row = new Row(name, "download");
    const stop = new AbortController();
    const began = performance.now();
    const meter = new Meter();
    this.#show(row);
    this.#running.add(row);
    row.running("Waiting for the server …", () => stop.abort());
    say(`The download of ${name} has begun.`);
    try {
      const answer = await this.#api.fetch(this.#api.contentUrl(file.id), { signal: stop.signal });
      const onprogress = (received, total) => {
        meter.add(received);
        row.moved(received, total, meter.rate);
      };
      const received = await save(answer, { name, target, onprogress });
      row.done(`Downloaded · ${size(received)} in ${duration((performance.now() - began) / 1000)}`);
      say(`${name} is downloaded.`);
    } catch (error) {
      if (error.name === "AbortError") row.cancelled("Cancelled. Nothing was saved.");
      else row.failed(explained(error), () => this.#again(row, () => this.download(file, target)));
    }
    this.#running.delete(row);
    this.#tidy();
  }

  #queue(job) {
    this.#waiting.push(job);
    job.row.waiting(() => {
      this.#waiting = this.#waiting.filter((other) => other !== job);
      job.row.cancelled("Cancelled before it began.");
      this.#tidy();
    });
  }

  #next() {
    while (this.#running.size < AT_ONCE && this.#waiting.length > 0) {
      this.#run(this.#waiting.shift());
    }
    this.#tidy();
  }

  async #run(job) {
    const { row, file } = job;
    const began = performance.now();
    const meter = new Meter();
    let sent = false;
    this.#running.add(row);
    let done = 0;
    const show = () => {
      meter.add(done);
      if (sent) row.finishing("Sent. Waiting for the provider …");
      else row.moved(done, file.size, meter.rate);
    };
    const running = upload({ ...job.request, headers: job.headers }, (loaded, total) => {
      sent = loaded >= total;
      // The browser counts the form around the file as well.
      done = Math.max(0, file.size - (total - loaded));
      show();
    });
    // An upload that has come to a halt tells nothing of itself.
    const clock = setInterval(() => done > 0 && show(), 1000);
    row.running("Starting …", running.cancel);
    say(`The upload of ${file.name} has begun.`);
    try {
      const stored = await running.done;
      row.done(`Uploaded · ${size(file.size)} in ${duration((performance.now() - began) / 1000)}`);
      say(`${file.name} is uploaded.`);
      this.#stored(stored, job.provider);
    } catch (error) {
      if (error.name === "AbortError") {
        row.cancelled(
          sent
            ? "Cancelled, but all of it was sent: the provider may have stored the file. Refresh the list to see."
            : "Cancelled. Nothing was stored.",
        );
      } else {
        // A second try is the same upload as long as the first one may have succeeded.
        if (!explained(error).uncertain) job.request.key = newKey();
        row.failed(explained(error), () => this.#again(row, () => this.#retry(job)));
      }
    }
    clearInterval(clock);
    this.#running.delete(row);
    this.#next();
  }

  #again(row, start) {
    row.remove();
    start();
  }

  #retry(job) {
    // With the key and the token as they are now: one of them may have been what was wrong.
    const renewed = this.#api.headers({ changes: true });
    const same = renewed["x-portkey-provider"] === job.headers["x-portkey-provider"];
    const retried = {
      ...job,
      headers: same ? renewed : job.headers,
      row: new Row(job.file.name, "upload"),
    };
    this.#queue(retried);
    this.#show(retried.row);
    retried.row.focus();
    this.#next();
  }

  #show(row) {
    $("transfers").hidden = false;
    $("transfer-list").prepend(row.element);
    row.ondismiss = () => {
      row.remove();
      this.#tidy();
      ($("transfers").hidden ? $("files-heading") : $("transfers-heading")).focus();
    };
  }

  #clear() {
    for (const element of [...$("transfer-list").children]) {
      if (element.dataset.over === "true") element.remove();
    }
    this.#tidy();
    ($("transfers").hidden ? $("files-heading") : $("transfers-heading")).focus();
  }

  #tidy() {
    const rows = [...$("transfer-list").children];
    $("transfers").hidden = rows.length === 0;
    $("clear-transfers").hidden = !rows.some((element) => element.dataset.over === "true");
  }
}

/** What the page shows of one transfer. */
class Row {
  ondismiss = () => {};

  #name;
  #kind;
  #status = make("p", { className: "transfer-status" });
  #bar;
  #buttons = make("div", { className: "transfer-buttons" });

  constructor(name, kind) {
    this.#name = name;
    this.#kind = kind;
    this.#bar = make("progress", { max: 1, "aria-label": `Progress of the ${kind} of ${name}` });
    this.element = make(
      "li",
      { className: "transfer" },
      make("span", { className: "tile" }, icon(kind)),
      make(
        "div",
        { className: "transfer-body" },
        make("p", { className: "name", textContent: name, title: name }),
        this.#status,
        this.#bar,
      ),
      this.#buttons,
    );
  }

  waiting(cancel) {
    this.#set("waiting", "Waits for its turn");
    this.#offer([iconButton("close", `Cancel the ${this.#kind} of ${this.#name}`, cancel)]);
  }

  running(status, cancel) {
    this.#set("running", status);
    this.#bar.removeAttribute("value");
    this.#offer([iconButton("close", `Cancel the ${this.#kind} of ${this.#name}`, cancel)]);
  }

  moved(bytes, total, rate) {
    this.#set("running", progress(bytes, total, rate));
    if (total) this.#bar.value = bytes / total;
  }

  finishing(status) {
    this.#set("finishing", status);
    this.#bar.removeAttribute("value");
  }

  done(status) {
    this.#end("done", status);
  }

  cancelled(status) {
    this.#end("cancelled", status);
    say(`The ${this.#kind} of ${this.#name} was cancelled.`);
  }

  failed(error, retry = null) {
    this.#end("failed", error.message, retry);
    say(`The ${this.#kind} of ${this.#name} failed. ${error.message}`);
  }

  focus() {
    this.#buttons.querySelector("button")?.focus();
  }

  remove() {
    this.element.remove();
  }

  #end(state, status, retry = null) {
    this.#set(state, status);
    this.element.dataset.over = "true";
    const label = `Remove ${this.#name} from the transfers`;
    const again = { type: "button", textContent: "Try again", onclick: retry };
    this.#offer([
      retry && make("button", { ...again, "aria-label": `Try the ${this.#kind} of ${this.#name} again` }),
      iconButton("close", label, () => this.ondismiss()),
    ]);
  }

  #set(state, status) {
    this.element.dataset.state = state;
    this.#status.textContent = status;
  }

  #offer(buttons) {
    const focused = this.#buttons.contains(document.activeElement);
    this.#buttons.replaceChildren(...buttons.filter(Boolean));
    if (focused) this.focus();
  }
}
