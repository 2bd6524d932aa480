// The page: puts its parts together, and takes what the user chooses and drops.

import { FilesApi } from "./api.js";
import { ask, showDetails, showProblem } from "./dialogs.js";
import { $, say } from "./dom.js";
import { canStream, LARGE, pickTarget } from "./download.js";
import { CallError, explained } from "./errors.js";
import { FileList } from "./files.js";
import { size } from "./format.js";
import { Access } from "./provider.js";
import { Transfers } from "./transfers.js";

const config = JSON.parse(document.body.dataset.config);
const access = new Access(config, () => files.load({ aloud: true }));
const api = new FilesApi(config, access);
const transfers = new Transfers(api, (file, provider) => {
  if (provider === access.provider) files.add(file);
});
const files = new FileList(api, access, { show, download, delete: remove });

function show(file) {
  showDetails(file, {
    retrieve: access.can("retrieve") ? () => api.retrieve(file.id) : null,
    download: access.can("content") ? () => download(file) : null,
  });
}

async function download(file) {
  try {
    if (access.headerless) {
      await transfers.downloadPlainly(file);
      return;
    }
    let target = null;
    if (canStream()) {
      target = await pickTarget(file.filename || file.id);
      if (target === null) return;
    } else if (file.bytes > LARGE && !(await mayFillMemory(file))) {
      return;
    }
    await transfers.download(file, target);
  } catch (error) {
    showProblem(error);
  }
}

function mayFillMemory(file) {
  return ask({
    heading: "Download a large file?",
    text: `This browser has to hold all ${size(file.bytes)} in memory before it can save them. Chrome and Edge save a file while it arrives.`,
    yes: "Download",
  });
}

async function remove(file) {
  const name = file.filename || file.id;
  const sure = await ask({
    heading: "Delete this file?",
    text: `“${name}” will be deleted at the provider. That can't be undone.`,
    yes: "Delete",
    danger: true,
  });
  if (!sure) return;
  try {
    await api.delete(file.id);
  } catch (error) {
    if (explained(error).status !== 404) {
      showProblem(error);
      return;
    }
  }
  files.remove(file);
  say(`${name} is deleted.`);
}

// --- Choosing and dropping files -------------------------------------------------------------

function upload(chosen) {
  if (chosen.length === 0) return;
  if (!access.can("upload")) {
    showProblem(new CallError("This provider takes no uploads. Choose another one."));
    return;
  }
  const { purpose, expiry, provider } = access;
  const own = $("own-purpose");
  own.setCustomValidity(purpose ? "" : "Say what the files are for, then choose them again.");
  if (!own.reportValidity()) return;
  transfers.upload(chosen, { purpose, expiry, provider });
}

$("choose").addEventListener("click", () => $("picker").click());
$("picker").addEventListener("change", () => {
  const chosen = [...$("picker").files];
  // So that the same file can be chosen once more.
  $("picker").value = "";
  upload(chosen);
});
$("own-purpose").addEventListener("input", () => $("own-purpose").setCustomValidity(""));

const brings = (event) => event.dataTransfer?.types.includes("Files");
let depth = 0; // Each element that the pointer crosses says that it came and went.

function highlight(change) {
  depth = Math.max(0, depth + change);
  document.body.classList.toggle("dragging", depth > 0);
}

document.addEventListener("dragenter", (event) => brings(event) && highlight(1));
document.addEventListener("dragleave", (event) => brings(event) && highlight(-1));
document.addEventListener("dragover", (event) => {
  if (!brings(event)) return;
  event.preventDefault();
  event.dataTransfer.dropEffect = access.can("upload") ? "copy" : "none";
});
document.addEventListener("drop", (event) => {
  if (!brings(event)) return;
  event.preventDefault();
  highlight(-depth);
  const items = [...event.dataTransfer.items].filter((item) => item.kind === "file");
  const entries = items.map((item) => item.webkitGetAsEntry?.());
  const dropped = [...event.dataTransfer.files];
  const isFolder = (file, index) => entries[index]?.isDirectory ?? false;
  if (dropped.some(isFolder)) {
    showProblem(new CallError("A folder can't be uploaded. Open it, and drop the files that are in it."));
  }
  upload(dropped.filter((file, index) => !isFolder(file, index)));
});

files.load();
