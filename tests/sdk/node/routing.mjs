// The portkey-ai npm SDK with virtual keys and configs; test_portkey_node_routing.py judges.

import { Portkey } from 'portkey-ai';

import { failure, run, sha256 } from './run.mjs';

// The SDK hands out the content as something that can't be read, and no headers with an error:
// both have to be looked at before the SDK gets them.
const responses = [];
const { fetch } = globalThis;
globalThis.fetch = async (url, init) => {
  const response = await fetch(url, init);
  responses.push(response.clone());
  return response;
};

const MARKS = ['provider', 'last-used-option-index', 'retry-attempt-count', 'trace-id'];

// What the gateway says of its last answer.
function marks() {
  const { headers } = responses.at(-1);
  return Object.fromEntries(MARKS.map((mark) => [mark, headers.get(`x-portkey-${mark}`)]));
}

function upload(files, text) {
  return files.create({ file: new File([text], 'data.jsonl'), purpose: 'batch' });
}

async function failed(promise) {
  const error = await failure(promise);
  const { headers, body } = { headers: marks(), body: await responses.at(-1).json() };
  return { ...error, headers, body };
}

await run({
  // All five operations on the file that is uploaded.
  async all({ baseURL, text, ...options }) {
    const { files } = new Portkey({ baseURL, ...options });
    const seen = [];
    const noted = async (promise) => {
      const answer = await promise;
      seen.push(marks());
      return answer;
    };
    const created = await noted(upload(files, text));
    const listed = await noted(files.list());
    const retrieved = await noted(files.retrieve(created.id));
    await noted(files.content(created.id));
    const content = sha256(await responses.at(-1).arrayBuffer());
    const deleted = await noted(files.delete(created.id));
    return {
      created,
      listed: listed.data.map((file) => file.id),
      retrieved,
      content,
      deleted,
      marks: seen,
      headers: created.getHeaders(),
    };
  },

  async upload({ baseURL, text, ...options }) {
    const { files } = new Portkey({ baseURL, ...options });
    const created = await upload(files, text);
    return { created, marks: marks() };
  },

  async failures({ baseURL, text, ...options }) {
    const { files } = new Portkey({ baseURL, ...options });
    return { list: await failed(files.list()), create: await failed(upload(files, text)) };
  },
});
