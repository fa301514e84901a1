// Auth.js, with the refresh of https://authjs.dev/guides/refresh-token-rotation in its callback jwt: a request for the
// session refreshes an access token that has expired.
import { Auth } from '@auth/core';
import { decode, encode } from '@auth/core/jwt';
import { check, claimsOf, equal, issue, issuer, world } from './lib.mjs';

const secret = world.secret;
const cookie = 'authjs.session-token';
let tokenEndpoint;

// callback is that of the guide, with the endpoint and the client of the service.
const callback = (client) => async ({ token }) => {
  if (Date.now() < token.expires_at * 1000) return token;
  if (!token.refresh_token) throw new TypeError('Missing refresh_token');
  try {
    const response = await fetch(tokenEndpoint, {
      method: 'POST',
      body: new URLSearchParams({ ...client, grant_type: 'refresh_token', refresh_token: token.refresh_token }),
    });
    const tokensOrError = await response.json();
    if (!response.ok) throw tokensOrError;
    const newTokens = tokensOrError;
    return {
      ...token,
      access_token: newTokens.access_token,
      expires_at: Math.floor(Date.now() / 1000 + newTokens.expires_in),
      refresh_token: newTokens.refresh_token ? newTokens.refresh_token : token.refresh_token,
    };
  } catch (error) {
    return { ...token, error: 'RefreshTokenError', why: error.error };
  }
};

// session asks Auth.js for the session, as a page does, and returns what its next cookie holds.
async function session(client, token) {
  const value = await encode({ token, secret, salt: cookie });
  const request = new Request('http://127.0.0.1/api/auth/session', { headers: { Cookie: `${cookie}=${value}` } });
  const response = await Auth(request, {
    secret,
    trustHost: true,
    basePath: '/api/auth',
    useSecureCookies: false,
    providers: [],
    callbacks: { jwt: callback(client), session: ({ session }) => session },
  });
  equal(response.status, 200, 'the status of the session');
  const set = response.headers.getSetCookie().find((one) => one.startsWith(`${cookie}=`));
  if (set === undefined) throw new Error(`no cookie: ${await response.text()}`);
  return decode({ token: set.slice(cookie.length + 1).split(';')[0], secret, salt: cookie });
}

const spa = { client_id: 'spa' };
const web = { client_id: 'web', client_secret: world.secret };
const stored = (issued) => ({
  sub: 'ada',
  access_token: issued.token,
  expires_at: 0,
  refresh_token: issued.refreshToken,
});

await check('discovery', async () => {
  const metadata = await (await fetch(`${issuer('es')}/.well-known/openid-configuration`)).json();
  tokenEndpoint = metadata.token_endpoint;
});

async function refreshes(client) {
  const first = await session(client, stored(await issue('es', client.client_id)));
  equal([first.error, first.expires_at > Date.now() / 1000], [undefined, true], 'error, and a time in the future');
  equal(claimsOf(first.access_token).aud, client.client_id, 'aud');
  const same = await session(client, first);
  equal(same.access_token, first.access_token, 'the access token, which has not expired');
  const next = await session(client, { ...first, expires_at: 0 });
  equal(next.error, undefined, 'the second refresh');
}

await check('public client', () => refreshes(spa));
await check('client_secret_post', () => refreshes(web));

await check('30 concurrent refreshes', async () => {
  const token = stored(await issue('es', 'web'));
  const all = await Promise.all(Array.from({ length: 30 }, () => session(web, token)));
  const different = new Set(all.map((one) => `${one.error} ${one.refresh_token} ${one.access_token}`));
  equal(different.size, 1, 'different answers');
  equal(all[0].error, undefined, 'error');
});

await check('revoke, then invalid_grant', async () => {
  const issued = await issue('es', 'web');
  const { revocation_endpoint: to } = await (await fetch(`${issuer('es')}/.well-known/openid-configuration`)).json();
  const done = await fetch(to, { method: 'POST', body: new URLSearchParams({ ...web, token: issued.refreshToken }) });
  equal(done.status, 200, 'the status of the revocation');
  const after = await session(web, stored(issued));
  equal([after.error, after.why], ['RefreshTokenError', 'invalid_grant'], 'the error that the session has');
});
