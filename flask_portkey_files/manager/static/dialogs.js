// What the page tells and asks: a problem above the list, a file's details, a question.

import { $, make, say } from "./dom.js";
import { moment, size } from "./format.js";
import { explained } from "./errors.js";

const KNOWN = {
  id: ["Id", String],
  purpose: ["Purpose", String],
  bytes: ["Size", (bytes) => (bytes >= 1000 ? `${size(bytes)} (${bytes} bytes)` : size(bytes))],
  created_at: ["Uploaded", moment],
  expires_at: ["Kept until", moment],
  status: ["Status", String],
  status_details: ["Details", String],
};
const LEFT_OUT = new Set(["object", "filename"]);

/** Show what went wrong above the list, with a button that tries again or takes it away. */
export function showProblem(error, again = null) {
  const problem = $("problem");
  $("problem-text").textContent = explained(error).message;
  $("problem-button").textContent = again ? "Try again" : "Dismiss";
  $("problem-button").onclick = () => {
    problem.hidden = true;
    $("files-heading").focus();
    again?.();
  };
  problem.hidden = false;
  problem.scrollIntoView({ block: "nearest" });
}

/** Ask a question; the answer is true only if the user says yes. */
export function ask({ heading, text, yes, danger = false }) {
  const dialog = $("question");
  $("question-heading").textContent = heading;
  $("question-text").textContent = text;
  $("question-yes").textContent = yes;
  $("question-yes").className = danger ? "danger" : "primary";
  $("question-no").onclick = () => dialog.close("no");
  $("question-yes").onclick = () => dialog.close("yes");
  dialog.returnValue = "no";
  dialog.showModal();
  // What can't be undone is not what the Enter key does.
  $("question-no").focus();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

/** Show what is known of a file, then what the provider says of it now. */
export async function showDetails(file, { retrieve, download }) {
  const dialog = $("details");
  const problem = $("details-problem");
  fill(file);
  problem.hidden = true;
  $("details-close").onclick = () => dialog.close();
  $("details-download").hidden = download === null;
  $("details-download").onclick = () => {
    dialog.close();
    download();
  };
  $("details-copy").onclick = () => copy(file.id);
  dialog.showModal();
  $("details-close").focus();
  if (retrieve === null) return;
  try {
    const fresh = await retrieve();
    if (dialog.open && fresh?.id === file.id) fill(fresh);
  } catch (error) {
    problem.textContent = explained(error).message;
    problem.hidden = false;
  }
}

function fill(file) {
  $("details-name").textContent = file.filename || file.id;
  const rows = Object.entries(KNOWN).map(([key, [label, format]]) => [label, file[key], format]);
  for (const [key, value] of Object.entries(file)) {
    if (!(key in KNOWN) && !LEFT_OUT.has(key)) rows.push([key, value, asText]);
  }
  const shown = rows.filter(([, value]) => value !== null && value !== undefined && value !== "");
  $("details-list").replaceChildren(
    ...shown.map(([label, value, format]) =>
      make("div", {}, make("dt", { textContent: label }), make("dd", { textContent: format(value) })),
    ),
  );
}

const asText = (value) => (typeof value === "object" ? JSON.stringify(value) : String(value));

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    say("The id is copied.");
    $("details-copy").textContent = "Copied";
    setTimeout(() => ($("details-copy").textContent = "Copy the id"), 2000);
  } catch {
    $("details-problem").textContent = "The browser does not let this page copy. Select the id and copy it.";
    $("details-problem").hidden = false;
  }
}
