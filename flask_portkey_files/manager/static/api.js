// The Files API, as the page calls it.

import { answered, CallError, sentElsewhere, unreachable } from "./errors.js";

export class FilesApi {
  #config;
  #access;

  constructor(config, access) {
    this.#config = config;
    this.#access = access;
  }

  /** The address of the list, to which uploads go as well. */
  get url() {
    return this.#config.filesUrl;
  }

  /** Return the address of a file. */
  fileUrl(id) {
    if (typeof id !== "string" || ["", ".", ".."].includes(id)) {
      throw new CallError("The provider gave this file an id that can't be asked for.");
    }
    return `${this.url}/${encodeURIComponent(id)}`;
  }

  /** Return the address of a file's content. */
  contentUrl(id) {
    return `${this.fileUrl(id)}/content`;
  }

  /** Return the headers of a call; those that change something also carry the token. */
  headers({ changes = false } = {}) {
    const token = changes && this.#config.csrfToken;
    return { ...this.#access.headers(), ...(token ? { "X-CSRFToken": token } : {}) };
  }

  /** Return a page of the list: its files, and whether there are more. */
  async list({ purpose, after, signal }) {
    const query = new URLSearchParams({ limit: this.#config.pageSize, order: "desc" });
    if (purpose) query.set("purpose", purpose);
    if (after) query.set("after", after);
    const page = await this.#json(`${this.url}?${query}`, { signal });
    if (!Array.isArray(page?.data)) throw unreadable();
    const files = page.data.filter((file) => typeof file?.id === "string");
    return { files, more: page.has_more === true };
  }

  /** Return what is known of a file. */
  retrieve(id) {
    return this.#json(this.fileUrl(id));
  }

  /** Delete a file. */
  delete(id) {
    return this.#json(this.fileUrl(id), { method: "DELETE", changes: true });
  }

  /** Return the answer to a call, once it is known to be a success. */
  async fetch(url, { changes = false, ...options } = {}) {
    let answer;
    try {
      answer = await fetch(url, {
        cache: "no-store",
        redirect: "manual",
        ...options,
        headers: this.headers({ changes }),
      });
    } catch (error) {
      throw error.name === "AbortError" ? error : unreachable();
    }
    if (answer.type === "opaqueredirect") throw sentElsewhere();
    if (!answer.ok) throw answered(answer.status, await answer.text().catch(() => ""));
    return answer;
  }

  async #json(url, options) {
    const answer = await this.fetch(url, options);
    let text;
    try {
      text = await answer.text();
    } catch (error) {
      throw error.name === "AbortError" ? error : unreachable();
    }
    if (!text) return null; // Azure's answer to a deletion may be empty.
    try {
      return JSON.parse(text);
    } catch {
      throw unreadable();
    }
  }
}

function unreadable() {
  return new CallError("The server's answer can't be read. Reload the page, then try again.");
}
