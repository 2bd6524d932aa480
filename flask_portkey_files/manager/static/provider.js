// The provider that is chosen, what it can do, and the key for it.

import { $, setOptions } from "./dom.js";
import { period } from "./format.js";

const STORED_KEYS = "portkey-files-keys";
const OTHER = "\u0000other";
/** What OpenAI has; the provider judges. */
const COMMON = ["user_data", "batch", "fine-tune", "assistants", "vision", "evals"];
const HOUR = 3600;
const DAY = 24 * HOUR;
const PERIODS = [HOUR, DAY, 7 * DAY, 30 * DAY, 90 * DAY];

export class Access {
  #config;
  #keys;

  /** @param config - the page's, @param changed - called when calls would go elsewhere. */
  constructor(config, changed) {
    this.#config = config;
    this.#keys = new Map(Object.entries(restored()));
    $("keep-key").checked = this.#keys.size > 0;
    setOptions($("provider"), config.providers.map(({ name }, index) => [String(index), name ?? ""]));
    $("provider-field").hidden = config.providers.length < 2;
    $("key-field").hidden = config.keyHeader === null;
    $("provider").addEventListener("change", () => {
      this.#show();
      changed();
    });
    $("key").addEventListener("change", () => {
      this.#keys.set(this.#keyName, $("key").value.trim());
      this.#store();
      changed();
    });
    $("keep-key").addEventListener("change", () => this.#store());
    $("purpose").addEventListener("change", () => this.#showOwnPurpose());
    this.#show();
  }

  /** What is known of the chosen provider. */
  get provider() {
    return this.#config.providers[Number($("provider").value) || 0];
  }

  /** Whether the chosen provider has an operation. */
  can(operation) {
    return this.provider.operations.includes(operation);
  }

  /** Whether a plain link does, because no header has to be sent. */
  get headerless() {
    return this.provider.name === null && this.#config.keyHeader === null;
  }

  /** Return the headers of a call to the chosen provider. */
  headers() {
    const headers = {};
    if (this.provider.name !== null) headers["x-portkey-provider"] = this.provider.name;
    const key = this.#keys.get(this.#keyName);
    const name = this.#config.keyHeader;
    if (name !== null && key) {
      headers[name] = name.toLowerCase() === "authorization" ? `Bearer ${key}` : key;
    }
    return headers;
  }

  /** Return the purpose that is chosen for uploads, empty if its name is still missing. */
  get purpose() {
    const { value } = $("purpose");
    return value === OTHER ? $("own-purpose").value.trim() : value;
  }

  /** Return how many seconds uploads are to be kept, or null for as long as may be. */
  get expiry() {
    return Number($("expiry").value) || null;
  }

  get #keyName() {
    return this.#config.oneKey ? "" : (this.provider.name ?? "");
  }

  #show() {
    $("key").value = this.#keys.get(this.#keyName) ?? "";
    const { purposes, expiry } = this.provider;
    const known = (purposes ?? COMMON).map((name) => [name, name]);
    setOptions($("purpose"), purposes === null ? [...known, [OTHER, "Other …"]] : known);
    setOptions($("filter"), [["", "All purposes"], ...known]);
    $("filter").value = "";
    this.#showOwnPurpose();
    $("expiry-field").hidden = expiry === null;
    const fits = (seconds) =>
      expiry && seconds >= expiry.least && seconds <= expiry.most && seconds % expiry.unit === 0;
    setOptions($("expiry"), [
      ["", "No limit"],
      ...PERIODS.filter(fits).map((seconds) => [String(seconds), period(seconds)]),
    ]);
    $("upload").hidden = !this.can("upload");
  }

  #showOwnPurpose() {
    $("own-purpose-field").hidden = $("purpose").value !== OTHER;
  }

  #store() {
    try {
      if ($("keep-key").checked) {
        sessionStorage.setItem(STORED_KEYS, JSON.stringify(Object.fromEntries(this.#keys)));
      } else {
        sessionStorage.removeItem(STORED_KEYS);
      }
    } catch {
      $("keep-key").checked = false; // The browser keeps nothing for pages.
    }
  }
}

function restored() {
  try {
    return JSON.parse(sessionStorage.getItem(STORED_KEYS)) ?? {};
  } catch {
    return {};
  }
}
