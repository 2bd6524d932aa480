// Numbers and times as people read them.

const UNITS = ["bytes", "kB", "MB", "GB", "TB"];
const DATE = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });
const TIME = new Intl.DateTimeFormat(undefined, { dateStyle: "long", timeStyle: "medium" });

/** Return a size such as "1.2 MB". */
export function size(bytes) {
  if (!Number.isFinite(bytes)) return "size unknown";
  if (bytes === 1) return "1 byte";
  let unit = 0;
  let count = bytes;
  while (count >= 999.5 && unit < UNITS.length - 1) {
    count /= 1000;
    unit += 1;
  }
  const digits = unit === 0 || count >= 99.95 ? 0 : 1;
  return `${count.toFixed(digits)} ${UNITS[unit]}`;
}

/** Return a length of time such as "about 2 min". */
export function duration(seconds) {
  if (seconds < 1) return "less than a second";
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `about ${Math.round(seconds / 60)} min`;
  if (seconds < 48 * 3600) return `about ${Math.round(seconds / 3600)} h`;
  return `about ${Math.round(seconds / 86400)} days`;
}

/** Return the exact length of a time to keep a file, such as "7 days". */
export function period(seconds) {
  for (const [unit, name] of [[86400, "day"], [3600, "hour"], [60, "minute"], [1, "second"]]) {
    if (seconds % unit === 0) {
      const count = seconds / unit;
      return `${count} ${name}${count === 1 ? "" : "s"}`;
    }
  }
  return `${seconds} seconds`;
}

const asDate = (seconds) => {
  const date = new Date(seconds * 1000);
  return Number.isFinite(seconds) && !Number.isNaN(date.valueOf()) ? date : null;
};

/** Return the day of a time in seconds since 1970. */
export function day(seconds) {
  const date = asDate(seconds);
  return date ? DATE.format(date) : "";
}

/** Return a time in seconds since 1970 in full. */
export function moment(seconds) {
  const date = asDate(seconds);
  return date ? TIME.format(date) : "";
}

/** Return what a file's name ends in, as far as it is short enough for its tile. */
export function extension(name) {
  const found = /\.([a-z0-9]{1,5})$/i.exec(name);
  return found ? found[1].toLowerCase() : "file";
}

/** Measures how fast bytes go, over the last few seconds. */
export class Meter {
  static WINDOW = 3000;

  #samples = [];

  /** Take down how many bytes there were at a time in milliseconds. */
  add(bytes, now = performance.now()) {
    this.#samples.push([now, bytes]);
    while (this.#samples.length > 2 && now - this.#samples[0][0] > Meter.WINDOW) {
      this.#samples.shift();
    }
  }

  /** Return the bytes per second, or null as long as that is not known. */
  get rate() {
    if (this.#samples.length < 2) return null;
    const [first, last] = [this.#samples[0], this.#samples.at(-1)];
    const seconds = (last[0] - first[0]) / 1000;
    return seconds > 0.2 ? (last[1] - first[1]) / seconds : null;
  }
}

/** Return how far a transfer is, such as "3.1 MB of 9.0 MB · 1.2 MB/s · 5 s left". */
export function progress(sent, total, rate) {
  const parts = [total === null ? size(sent) : `${size(sent)} of ${size(total)}`];
  if (rate === 0) {
    parts.push("waiting for the server");
  } else if (rate !== null) {
    parts.push(`${size(rate)}/s`);
    if (total !== null) parts.push(`${duration((total - sent) / rate)} left`);
  }
  return parts.join(" · ");
}
