// What the scripts share. Each check prints a line of JSON: {"check": name}, with "error" if it failed, or "later" if
// the service does not offer it yet.
import { readFileSync } from 'node:fs';

export const world = JSON.parse(readFileSync(process.env.WORLD, 'utf8'));
export const issuer = (tenant, at = world.url) => `${at}/t/${tenant}`;
export const tenants = { EdDSA: 'ed', ES256: 'es', RS256: 'rs', PS256: 'ps' };

// rotated is a tenant whose signing key this client alone has revoked.
export const rotated = world.rotations[process.env.CLIENT];

const say = (line) => console.log(JSON.stringify(line));

const text = (error) => {
  const causes = [];
  for (let e = error; e; e = e.cause instanceof Error ? e.cause : undefined) {
    causes.push([e.code, e.error, e.message].filter((part) => typeof part === 'string').join(' '));
  }
  return causes.join(': ') || String(error);
};

export async function check(name, run) {
  try {
    await run();
    say({ check: name });
  } catch (error) {
    say({ check: name, error: text(error) });
  }
}

export const later = (name) => say({ check: name, later: true });

export function equal(got, want, what) {
  const [a, b] = [JSON.stringify(got), JSON.stringify(want)];
  if (a !== b) throw new Error(`${what}: got ${a}, want ${b}`);
}

// refuses throws unless run throws an error that says why.
export async function refuses(run, why) {
  let said;
  try {
    await run();
  } catch (error) {
    said = text(error);
  }
  if (said === undefined) throw new Error(`it was not refused (${why})`);
  if (!why.test(said)) throw new Error(`it was refused for another reason than ${why}: ${said}`);
}

async function backend(path, tenant, body, at = world.url) {
  const response = await fetch(at + path, {
    method: 'POST',
    headers: { Authorization: world.apiKey, 'X-Stencil-TenantId': tenant, 'Content-Type': 'application/json' },
    body: JSON.stringify(body),
  });
  if (!response.ok) throw new Error(`POST ${path}: ${response.status} ${await response.text()}`);
  return (await response.json()).data;
}

// issue starts a session at a service, as a login service does. It returns refreshToken and token, the access token.
export function issue(tenant, application, more = {}, at = world.url) {
  const body = { userId: 'ada', applicationsId: application, scopes: ['orders:read', 'orders:write'], ...more };
  return backend('/jwt/issue', tenant, body, at);
}

// exchangeParameters are those of a token exchange (RFC 8693, section 2.1).
export const exchangeType = 'urn:ietf:params:oauth:grant-type:token-exchange';
export const exchangeParameters = (refreshToken) => ({
  subject_token: refreshToken,
  subject_token_type: 'urn:ietf:params:oauth:token-type:refresh_token',
  audience: 'https://orders.example',
  scope: 'orders:read',
});

export const kidOf = (token) => JSON.parse(Buffer.from(token.split('.')[0], 'base64url').toString()).kid;
export const claimsOf = (token) => JSON.parse(Buffer.from(token.split('.')[1], 'base64url').toString());

// verifier runs the checks of a verifier. verify(token, tenant, algorithm, audience) returns claims, or throws why not.
// The audience is spa by default. verify keeps the keys of a tenant from one call to the next.
export async function verifier(verify, why = { audience: /aud/i, expired: /exp/i, newKey: true }) {
  for (const [algorithm, tenant] of Object.entries(tenants)) {
    await check(algorithm, async () => {
      const claims = await verify((await issue(tenant, 'spa')).token, tenant, algorithm);
      equal([claims.sub, claims.iss], ['ada', issuer(tenant)], 'sub and iss');
    });
  }
  await check('other audience refused', async () => {
    const { token } = await issue('es', 'web');
    await refuses(() => verify(token, 'es', 'ES256'), why.audience);
  });
  await check('expired refused', () =>
    refuses(() => verify(world.expired, 'es', 'ES256', 'brief'), why.expired),
  );
  if (!why.newKey) return;
  await check('new key found by its kid', async () => {
    const before = (await issue(rotated, 'spa')).token;
    await verify(before, rotated, 'ES256');
    await backend(`/key/revoke/${kidOf(before)}`, rotated, { newKey: true });
    const after = (await issue(rotated, 'spa')).token;
    if (kidOf(after) === kidOf(before)) throw new Error('the key was not replaced');
    await verify(after, rotated, 'ES256');
  });
}
