// The openai npm SDK; what it got is for test_openai_node.py to judge.

import { createReadStream, readFileSync } from 'node:fs';
import { basename } from 'node:path';
import OpenAI, { toFile } from 'openai';

import { failure, run, sha256 } from './run.mjs';

function connect({ baseURL, headers = { 'x-portkey-provider': 'local' } }) {
  return new OpenAI({ baseURL, apiKey: 'sk-test', maxRetries: 0, defaultHeaders: headers });
}

// The ways to hand a file over. Each makes the body of one upload; the order of its keys is
// the order of the form's parts, and the documentation has the file first.
const bodies = {
  streamFirst: (path, purpose) => ({ file: createReadStream(path), purpose }),
  streamLast: (path, purpose) => ({ purpose, file: createReadStream(path) }),
  bufferFirst: async (path, purpose) => ({
    file: await toFile(readFileSync(path), basename(path)),
    purpose,
  }),
  bufferLast: async (path, purpose) => ({
    purpose,
    file: await toFile(readFileSync(path), basename(path)),
  }),
};

await run({
  async all(options) {
    const { files } = connect(options);
    const body = await bodies[options.body](options.path, options.purpose);
    const { data: created, request_id } = await files.create(body).withResponse();
    const listed = await files.list();
    const retrieved = await files.retrieve(created.id);
    const response = await files.content(created.id);
    const content = await response.arrayBuffer();
    const deleted = await files.delete(created.id);
    return {
      created,
      requestId: request_id,
      listed: listed.data,
      retrieved,
      content: {
        status: response.status,
        length: response.headers.get('content-length'),
        disposition: response.headers.get('content-disposition'),
        sha256: sha256(content),
      },
      deleted,
      left: (await files.list()).data,
      gone: await failure(files.retrieve(created.id)),
    };
  },

  async upload(options) {
    const body = await bodies[options.body](options.path, options.purpose);
    return connect(options).files.create({ ...body, ...options.extra });
  },

  async failedUpload(options) {
    const { files } = connect(options);
    const errors = [];
    for (let n = 0; n < options.times; n += 1) {
      const body = await bodies[options.body](options.path, options.purpose);
      errors.push(await failure(files.create(body)));
    }
    return errors;
  },

  async pages(options) {
    const { files } = connect(options);
    const created = [];
    for (let n = 0; n < 5; n += 1) {
      const file = await toFile(Buffer.from(`${n}\n`), `${n}.jsonl`);
      created.push((await files.create({ file, purpose: 'batch' })).id);
    }
    const seen = [];
    for await (const file of files.list({ limit: 2, order: 'asc' })) seen.push(file.id);
    const sizes = [];
    for await (const page of (await files.list({ limit: 2 })).iterPages()) {
      sizes.push(page.data.length);
    }
    const after = [];
    for await (const file of files.list({ limit: 2, order: 'asc', after: created[1] })) {
      after.push(file.id);
    }
    return { created, seen, sizes, after, other: (await files.list({ purpose: 'evals' })).data };
  },

  async failures(options) {
    const { files } = connect(options);
    return {
      retrieve: await failure(files.retrieve('file-unknown')),
      content: await failure(files.content('file-unknown')),
      delete: await failure(files.delete('file-unknown')),
      list: await failure(files.list({ limit: 0 })),
    };
  },
});
