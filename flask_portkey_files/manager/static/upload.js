// One upload. XMLHttpRequest, because fetch() does not tell how much has been sent.

import { answered, CallError, sentElsewhere, unreachable } from "./errors.js";

/**
 * Send a file.
 *
 * The request can be told from a second one of the same file by its idempotency key, so that a
 * server that knows such keys stores it once.
 *
 * @param request - url, headers, file, purpose, expiry in seconds or null, and its key.
 * @param onprogress - called with the bytes that were sent, and those that there are in all.
 * @returns a promise of the stored file, and a function that breaks the upload off.
 */
export function upload(request, onprogress) {
  const xhr = new XMLHttpRequest();
  const done = new Promise((resolve, reject) => {
    xhr.upload.onprogress = ({ loaded, total }) => onprogress(loaded, total);
    xhr.onload = () => {
      // It follows redirects by itself, and a login page is no answer.
      const elsewhere = xhr.responseURL !== new URL(request.url, location).href;
      if (elsewhere) reject(sentElsewhere());
      else settle(xhr, resolve, reject);
    };
    xhr.onerror = () => reject(unreachable());
    xhr.onabort = () => reject(new DOMException("Cancelled", "AbortError"));
  });
  xhr.open("POST", request.url);
  xhr.setRequestHeader("Accept", "application/json");
  xhr.setRequestHeader("Idempotency-Key", request.key);
  for (const [name, value] of Object.entries(request.headers)) {
    xhr.setRequestHeader(name, value);
  }
  xhr.send(form(request));
  return { done, cancel: () => xhr.abort() };
}

/** Return a key that no other upload has. */
export function newKey() {
  // crypto.randomUUID() is there only where the page came by https.
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function form({ file, purpose, expiry }) {
  const data = new FormData();
  // The fields come first, so that the file can be passed on as it arrives.
  data.append("purpose", purpose);
  if (expiry !== null) {
    data.append("expires_after[anchor]", "created_at");
    data.append("expires_after[seconds]", String(expiry));
  }
  data.append("file", file, file.name);
  return data;
}

function settle(xhr, resolve, reject) {
  if (xhr.status < 200 || xhr.status > 299) {
    reject(answered(xhr.status, xhr.responseText));
    return;
  }
  try {
    resolve(JSON.parse(xhr.responseText));
  } catch {
    const words = "The file was sent, but the answer can't be read. Look for it in the list.";
    reject(new CallError(words, { status: xhr.status }));
  }
}
