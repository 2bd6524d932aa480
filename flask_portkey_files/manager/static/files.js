// The list of stored files.

import { showProblem } from "./dialogs.js";
import { $, iconButton, make, say, setOptions } from "./dom.js";
import { day, extension, moment, size } from "./format.js";

export class FileList {
  #api;
  #access;
  #actions;
  #files = new Map();
  #more = false;
  #asked = new AbortController();

  /** @param actions - what to do when the user wants to see, download or delete a file. */
  constructor(api, access, actions) {
    this.#api = api;
    this.#access = access;
    this.#actions = actions;
    $("filter").addEventListener("change", () => this.load());
    $("refresh").addEventListener("click", () => this.load({ aloud: true }));
    $("more").addEventListener("click", () => this.#loadMore());
  }

  /** Read the list from its beginning. */
  async load({ aloud = false } = {}) {
    this.#files.clear();
    this.#more = false;
    $("file-list").replaceChildren();
    if (!this.#access.can("list")) {
      this.#settle();
      $("empty-text").textContent = "This provider has no list of its files.";
      $("empty-hint").textContent = "You can upload files, but not look them up here.";
      return;
    }
    if (await this.#read()) {
      this.#settle();
      if (aloud) say(this.#counted());
    }
  }

  /** Add a file that was uploaded just now. */
  add(file) {
    if (typeof file?.id !== "string" || this.#files.has(file.id)) return;
    const purpose = $("filter").value;
    if (purpose && file.purpose !== purpose) return;
    this.#files = new Map([[file.id, file], ...this.#files]);
    $("file-list").prepend(this.#row(file));
    $("problem").hidden = true;
    this.#settle();
  }

  /** Take a file off the list, and put the focus on the next one. */
  remove(file) {
    const row = this.#find(file.id);
    const next = row?.nextElementSibling ?? row?.previousElementSibling;
    this.#files.delete(file.id);
    row?.remove();
    this.#settle();
    (next?.querySelector(".name") ?? $("files-heading")).focus();
  }

  async #loadMore() {
    const before = new Set(this.#files.keys());
    if (!(await this.#read([...before].at(-1)))) return;
    this.#settle();
    const first = [...this.#files.keys()].find((id) => !before.has(id));
    if (first !== undefined) this.#find(first).querySelector(".name").focus();
    say(this.#counted());
  }

  /** Read a page; whether it was read, and is still what the user wants to see. */
  async #read(after = null) {
    this.#asked.abort();
    this.#asked = new AbortController();
    const { signal } = this.#asked;
    $("problem").hidden = true;
    $("empty").hidden = true;
    $("loading").hidden = false;
    $("more").disabled = true;
    $("file-list").setAttribute("aria-busy", "true");
    try {
      const page = await this.#api.list({ purpose: $("filter").value, after, signal });
      const unseen = page.files.filter((file) => !this.#files.has(file.id));
      for (const file of unseen) this.#files.set(file.id, file);
      // A provider that ignores `after` would begin anew for ever.
      this.#more = page.more && unseen.length > 0;
      $("file-list").append(...unseen.map((file) => this.#row(file)));
      this.#learnPurposes(unseen);
    } catch (error) {
      if (signal.aborted) return false;
      this.#failed(error);
      return false;
    } finally {
      if (!signal.aborted) {
        $("loading").hidden = true;
        $("more").disabled = false;
        $("file-list").setAttribute("aria-busy", "false");
      }
    }
    return !signal.aborted;
  }

  #failed(error) {
    this.#settle();
    $("empty").hidden = true;
    showProblem(error, () => this.load({ aloud: true }));
  }

  #settle() {
    const count = this.#files.size;
    const purpose = $("filter").value;
    $("columns").hidden = count === 0;
    $("empty").hidden = count > 0;
    $("empty-text").textContent = purpose ? `No files for “${purpose}”` : "No files yet";
    $("empty-hint").textContent = purpose
      ? "Files for other purposes may be stored."
      : this.#access.can("upload")
        ? "Drop files anywhere on this page to upload them."
        : "";
    $("loading").hidden = true;
    $("count").textContent = count === 0 ? "" : this.#counted();
    $("more").hidden = !this.#more;
  }

  #counted() {
    const count = this.#files.size;
    if (count === 0) return "No files";
    const files = count === 1 ? "1 file" : `${count} files`;
    return this.#more ? `${files}, and there are more` : files;
  }

  #learnPurposes(files) {
    const known = [...$("filter").options].map(({ value }) => value);
    const unknown = new Set(files.map(({ purpose }) => purpose));
    const added = [...unknown].filter((name) => typeof name === "string" && name && !known.includes(name));
    if (added.length === 0) return;
    const options = [...known.slice(1), ...added.sort()].map((name) => [name, name]);
    setOptions($("filter"), [["", "All purposes"], ...options]);
  }

  #find(id) {
    return [...$("file-list").children].find((row) => row.dataset.id === id) ?? null;
  }

  #row(file) {
    const name = file.filename || file.id;
    const ending = make("span", { className: "tile", textContent: extension(name), "aria-hidden": "true" });
    const open = { type: "button", className: "name", textContent: name, title: name };
    const row = make(
      "li",
      { className: "row" },
      ending,
      make("button", { ...open, onclick: () => this.#actions.show(file) }),
      make(
        "span",
        { className: "facts" },
        make("span", {}, file.purpose ? make("span", { className: "purpose", textContent: file.purpose }) : null),
        make("span", { className: "size", textContent: size(file.bytes) }),
        age(file),
      ),
      make(
        "span",
        { className: "row-buttons" },
        this.#access.can("content")
          ? iconButton("download", `Download ${name}`, () => this.#actions.download(file))
          : null,
        this.#access.can("delete")
          ? iconButton("delete", `Delete ${name}`, () => this.#actions.delete(file), "risky")
          : null,
      ),
    );
    row.dataset.id = file.id;
    return row;
  }
}

function age(file) {
  const text = day(file.created_at);
  if (!text) return make("span", { className: "age" });
  const until = day(file.expires_at);
  return make(
    "span",
    { className: "age", title: moment(file.created_at) },
    text,
    until ? make("span", { className: "until", textContent: `until ${until}` }) : null,
  );
}
