// What went wrong, as a sentence that says what to do about it.

import { $ } from "./dom.js";

/** A call that failed. Its message is for people. */
export class CallError extends Error {
  constructor(message, { status = 0, code = null } = {}) {
    super(message);
    this.status = status;
    this.code = code;
  }

  /** Whether it can't be known if the server has done what it was asked. */
  get uncertain() {
    return this.status === 0 || this.status >= 500;
  }
}

const UNREACHABLE =
  "The server could not be reached, or the connection broke. Check your connection, then try again.";

/** What to say where the answer does not. */
const BY_STATUS = {
  400: "The server could not read the request.",
  401: "You are not signed in, or the key is missing or wrong.",
  403: "You may not do this.",
  404: "This file is not there any more.",
  408: "The provider took too long. Try again.",
  413: "The file is larger than the server takes.",
  429: "There were too many requests. Wait a moment, then try again.",
  501: "The provider can't do this.",
  502: "The provider could not be reached. Try again in a moment.",
  503: "The server is busy. Try again in a moment.",
  504: "The provider took too long. Try again.",
};

/** What to say in place of words that are for programmers, where the page asks for a key. */
const OF_KEYS = new Map([
  ["missing_api_key", "A key is needed here. Enter it in the field “Key”."],
]);

/** What to do, where the server's own words leave it open. */
const ADVICE = new Map([
  ["invalid_api_key", "Check the key."],
  ["upstream_error", "Try again in a moment."],
  ["upstream_timeout", "Try again in a moment."],
]);

/** Return the error of a call that the server sent elsewhere, such as to its login. */
export const sentElsewhere = () =>
  new CallError("You may have been signed out. Reload the page, then try again.", { status: 401 });

/** Return the error of a call that got no answer. */
export const unreachable = () => new CallError(UNREACHABLE);

/** Return the error of an answer: its status, and its body as text. */
export function answered(status, text) {
  const error = envelope(text);
  const words = typeof error?.message === "string" ? error.message.trim() : "";
  if (!words) {
    const known = BY_STATUS[status];
    return new CallError(known ?? `The server answered with the status ${status}.`, { status });
  }
  const code = typeof error.code === "string" ? error.code : null;
  const advice = ADVICE.get(code) ?? (status === 429 ? "Wait a moment, then try again." : "");
  const ofKeys = $("key-field").hidden ? undefined : OF_KEYS.get(code);
  const parts = [ofKeys ?? sentence(words), advice];
  return new CallError(parts.filter(Boolean).join(" "), { status, code });
}

/** Return what of a thrown value can be shown. */
export const explained = (error) => (error instanceof CallError ? error : unreachable());

function envelope(text) {
  try {
    const body = JSON.parse(text);
    return typeof body?.error === "object" ? body.error : body;
  } catch {
    return null; // Such as the page of a proxy in front.
  }
}

function sentence(words) {
  const text = words.length > 600 ? `${words.slice(0, 600)} …` : words;
  return /[.!?…)]$/.test(text) ? text : `${text}.`;
}
