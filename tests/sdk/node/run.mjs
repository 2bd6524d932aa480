// Runs one of a script's scenarios and prints what it returns as JSON:
//   node SCRIPT.mjs '{"scenario": "...", "baseURL": "...", ...}'

import { createHash } from 'node:crypto';

export async function run(scenarios) {
  const { scenario, ...options } = JSON.parse(process.argv[2]);
  console.log(JSON.stringify(await scenarios[scenario](options)));
}

export function sha256(data) {
  return createHash('sha256').update(Buffer.from(data)).digest('hex');
}

// What became of a call that is expected to fail.
export async function failure(promise) {
  try {
    await promise;
  } catch (error) {
    const { status, message, type, param, code, requestID } = error;
    // What is undefined would be left out.
    const reason = { status, message, type, param, code, requestID, cause: causes(error) };
    for (const key of Object.keys(reason)) reason[key] ??= null;
    return { name: error.constructor.name, ...reason };
  }
  return null;
}

// Under "Connection error." and "fetch failed" lies what really went wrong.
function causes(error) {
  const found = [];
  for (let cause = error.cause; cause; cause = cause.cause) found.push(cause.message);
  return found.join(': ');
}
