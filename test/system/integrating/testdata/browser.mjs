// Runs the document's client as a page of the login service's origin would, with the browser's part played by a fetch
// that has a cookie jar: a command a line on standard input, a line of JSON for each on standard output.
import { createInterface } from 'node:readline';
import { LoggedOut, Session, Unavailable } from './session.mjs';

const { LOGIN: login, REFRESHD: refreshd } = process.env;
const jar = new Map();
let others = []; // cookies of a name that is in the jar, for other domains
const send = globalThis.fetch;
globalThis.fetch = async (target, options = {}) => {
  const url = new URL(target, login);
  const headers = new Headers(options.headers);
  if (options.method && options.method !== 'GET') headers.set('Origin', login);
  headers.set('Sec-Fetch-Site', url.origin === login ? 'same-origin' : 'same-site');
  const credentials = options.credentials ?? 'same-origin';
  const included = credentials === 'include' || (credentials === 'same-origin' && url.origin === login);
  const sent = [...jar].map(([name, value]) => `${name}=${value}`).concat(others);
  if (included && sent.length > 0) headers.set('Cookie', sent.join('; '));
  const response = await send(url, { ...options, headers });
  for (const line of included ? response.headers.getSetCookie() : []) {
    const [pair, ...attributes] = line.split('; ');
    const [name, value] = pair.split(/=(.*)/);
    if (attributes.some((a) => a.toLowerCase().startsWith('domain='))) continue; // 127.0.0.1 has no domain
    if (attributes.includes('Max-Age=0')) jar.delete(name) && (others = []);
    else jar.set(name, value);
  }
  return response;
};

// The document's page has these elements.
const elements = { said: {}, logout: {}, login: { elements: { user: {}, password: {} } } };
globalThis.document = { getElementById: (id) => elements[id] };

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
  other: (value) => `${others.push(`refresh_token=${value}`)}`,
  page: async () => {
    await import(`./page.mjs?${Math.random()}`); // as often as it is loaded
    return elements.said.textContent;
  },
  submit: async (user) => {
    elements.login.elements.user.value = user;
    elements.login.elements.password.value = 'correct horse';
    await elements.login.onsubmit({ preventDefault() {}, target: elements.login });
    return elements.said.textContent;
  },
  click: async () => (await elements.logout.onclick()) ?? elements.said.textContent,
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
