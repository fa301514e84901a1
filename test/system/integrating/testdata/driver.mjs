// Runs the document's client for the tests: one command a line on standard input, one line of JSON for each on standard
// output.
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { LoggedOut, Session, Unavailable } from './session.mjs';

const file = process.env.STORE;
const store = {
  get: async () => (existsSync(file) ? readFileSync(file, 'utf8') : null),
  set: async (text) => writeFileSync(file, text),
  remove: async () => rmSync(file),
};
let session;
const commands = {
  open: () => (session = new Session({ refreshd: process.env.REFRESHD, tenant: 'default', store })) && 'open',
  token: () => session.accessToken(),
  three: async () => (await Promise.all([1, 2, 3].map(() => session.accessToken()))).join(' '),
  fetch: async (url) => (await session.fetch(url)).text(),
  devices: async () => JSON.stringify(await session.devices()),
  others: async () => (await session.logoutEverywhereElse()) ?? 'done',
  logout: async () => (await session.logout()) ?? 'done',
};
for await (const line of createInterface({ input: process.stdin })) {
  const [name, argument] = line.split(' ');
  try {
    console.log(JSON.stringify({ result: await commands[name](argument) }));
  } catch (error) {
    const kind = error instanceof LoggedOut ? 'logged out' : error instanceof Unavailable ? 'unavailable' : 'bug';
    console.log(JSON.stringify({ kind, message: `${error.stack}` }));
  }
}
