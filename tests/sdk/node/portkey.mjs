// The portkey-ai npm SDK; what it got is for test_openai_node.py to judge.

import { createReadStream } from 'node:fs';
import { Portkey } from 'portkey-ai';

import { failure, run, sha256 } from './run.mjs';

// The SDK hands out the content as a copy of a stream object, which can't be read: what came
// has to be looked at before the SDK gets it.
const contents = [];
const { fetch } = globalThis;
globalThis.fetch = async (url, init) => {
  const response = await fetch(url, init);
  if (response.ok && String(url).endsWith('/content')) {
    const copy = response.clone();
    contents.push(copy.arrayBuffer().then(sha256));
  }
  return response;
};

await run({
  async all({ baseURL, path, purpose, ...options }) {
    const { files } = new Portkey({ baseURL, ...options });
    const created = await files.create({ file: createReadStream(path), purpose });
    const listed = await files.list({ limit: 3 });
    const retrieved = await files.retrieve(created.id);
    const content = await files.content(created.id);
    const deleted = await files.delete(created.id);
    return {
      created,
      listed: listed.data,
      retrieved,
      content: await Promise.all(contents),
      readable: ['text', 'arrayBuffer', 'getReader'].filter((name) => name in content),
      deleted,
      left: (await files.list()).data,
      gone: await failure(files.retrieve(created.id)),
    };
  },

  async pages({ baseURL, ...options }) {
    const { files } = new Portkey({ baseURL, ...options });
    const created = [];
    for (let n = 0; n < 5; n += 1) {
      const file = new File([`${n}\n`], `${n}.jsonl`);
      created.push((await files.create({ file, purpose: 'batch' })).id);
    }
    const seen = [];
    const sizes = [];
    let query = { limit: 2, order: 'asc' };
    while (query) {
      const page = await files.list(query);
      sizes.push(page.data.length);
      seen.push(...page.data.map((file) => file.id));
      query = page.has_more ? { ...query, after: page.last_id } : null;
    }
    return { created, seen, sizes };
  },

  async failures({ baseURL, ...options }) {
    const { files } = new Portkey({ baseURL, ...options });
    return {
      list: await failure(files.list()),
      create: await failure(files.create({ file: new File(['x'], 'x'), purpose: 'batch' })),
    };
  },
});
