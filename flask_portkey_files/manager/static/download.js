// One download, to the disk as it arrives where the browser can.

import { CallError, unreachable } from "./errors.js";
import { make } from "./dom.js";

/** From this size on a browser that has to hold the file in memory is worth a question. */
export const LARGE = 512 * 1024 * 1024;

/** Whether the browser can write a file to the disk while it arrives. */
export const canStream = () => typeof window.showSaveFilePicker === "function";

/** Have the browser download an address by itself; it has to need no headers. */
export function follow(url, name) {
  const link = make("a", { href: url, download: safeName(name) });
  document.body.append(link);
  link.click();
  link.remove();
}

/** Ask where to save a file; null if the user thinks better of it. */
export async function pickTarget(name) {
  try {
    return await window.showSaveFilePicker({ suggestedName: safeName(name) });
  } catch (error) {
    if (error.name === "AbortError") return null;
    throw new CallError("The browser can't save a file there. Choose another folder.");
  }
}

/**
 * Save the content of a file, and count it.
 *
 * @param answer - the server's, whose body has not been read.
 * @param target - what pickTarget() returned, or null to hold the file in memory.
 * @param onprogress - called with the bytes that have come, and those there are or null.
 */
export async function save(answer, { name, target, onprogress }) {
  const total = lengthOf(answer);
  let received = 0;
  const count = new TransformStream({
    transform(chunk, controller) {
      received += chunk.byteLength;
      onprogress(received, total);
      controller.enqueue(chunk);
    },
  });
  const counted = (answer.body ?? new Blob([]).stream()).pipeThrough(count);
  if (target === null) {
    const blob = await new Response(counted).blob().catch(failed);
    // Without a type of its own it is nothing that a browser would show.
    const url = URL.createObjectURL(new Blob([blob], { type: "application/octet-stream" }));
    follow(url, name);
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
  } else {
    // What has been written so far is thrown away if the content breaks off.
    await counted.pipeTo(await target.createWritable()).catch(failed);
  }
  return received;
}

/** Return a name that a disk takes, whatever the provider calls the file. */
export function safeName(name) {
  const clean = String(name).replace(/[\u0000-\u001f\u007f<>:"/\\|?*\u202a-\u202e\u2066-\u2069]/g, "_");
  return clean.replace(/^[. ]+|[. ]+$/g, "").slice(0, 200) || "file";
}

function lengthOf(answer) {
  // A compressed answer's length is not that of the file.
  if (answer.headers.get("Content-Encoding")) return null;
  const length = answer.headers.get("Content-Length");
  return length === null ? null : Number(length);
}

function failed(error) {
  if (error.name === "AbortError") throw error;
  if (error.name === "QuotaExceededError") {
    throw new CallError("There is not enough room on the disk for this file.");
  }
  throw unreachable();
}
