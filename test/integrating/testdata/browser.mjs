// Runs the document's client as a page of the login service's origin would, with the browser's part played by a fetch
// that has a cookie jar: a command a line on standard input, a line of JSON for each on standard output.
import { createInterface } from 'node:readline';
import { LoggedOut, Session, Unavailable } from './session.mjs';

const { LOGIN: login, API: api, REFRESHD: refreshd } = process.env;
const jar = new Map();
const send = globalThis.fetch;
globalThis.fetch = async (target, options = {}) => {
  const url = new URL(target, api);
  const headers = new Headers(options.headers);
  if (options.method && options.method !== 'GET') headers.set('Origin', login);
  headers.set('Sec-Fetch-Site', url.origin === login ? 'same-origin' : 'same-site');
  const included = options.credentials === 'include';
  if (included && jar.size > 0) headers.set('Cookie', [...jar].map(([name, value]) => `${name}=${value}`).join('; '));
  const response = await send(url, { ...options, headers });
  for (const line of included ? response.headers.getSetCookie() : []) {
    const [pair, ...attributes] = line.split('; ');
    const [name, value] = pair.split(/=(.*)/);
    if (attributes.some((a) => a.toLowerCase().startsWith('domain='))) continue; // 127.0.0.1 has no domain
    if (attributes.includes('Max-Age=0')) jar.delete(name);
    else jar.set(name, value);
  }
  return response;
};

let session;
const out = console.log;
const commands = {
  open: () => (session = new Session({ refreshd, tenant: 'default' })) && 'open',
  login: async (user) => {
    const response = await fetch(`${login}/login`, {
      method: 'POST',
      credentials: 'include',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ user, password: 'correct horse', cookies: true }),
    });
    return `${response.status} ${await response.text()}`;
  },
  cookies: () => [...jar.keys()].sort().join(' '),
  token: () => session.accessToken(),
  page: async () => {
    let said = '';
    console.log = (value) => (said = JSON.stringify(value));
    globalThis.location = { assign: (where) => (said = where) };
    await import('./page.mjs').finally(() => (console.log = out));
    return said;
  },
  devices: async () => JSON.stringify(await session.devices()),
  others: async () => (await session.logoutEverywhereElse()) ?? 'done',
  logout: async () => (await session.logout()) ?? 'done',
};
for await (const line of createInterface({ input: process.stdin })) {
  const [name, argument] = line.split(' ');
  try {
    out(JSON.stringify({ result: await commands[name](argument) }));
  } catch (error) {
    const kind = error instanceof LoggedOut ? 'logged out' : error instanceof Unavailable ? 'unavailable' : 'bug';
    out(JSON.stringify({ kind, message: `${error.stack}` }));
  }
}
