import * as oauth from 'oauth4webapi';
import { check, claimsOf, equal, exchangeParameters, exchangeType, issue, issuer } from './lib.mjs';
import { later, refuses, verifier, world } from './lib.mjs';

const insecure = { [oauth.allowInsecureRequests]: true };

async function discover(tenant, algorithm = 'oidc', at = world.url) {
  const url = new URL(issuer(tenant, at));
  return oauth.processDiscoveryResponse(url, await oauth.discoveryRequest(url, { algorithm, ...insecure }));
}

async function refresh(as, id, auth, token, options = {}) {
  const client = { client_id: id };
  const response = await oauth.refreshTokenGrantRequest(as, client, auth, token, { ...options, ...insecure });
  return oauth.processRefreshTokenResponse(as, client, response);
}

let as;
await check('discovery', async () => {
  await refuses(() => oauth.discoveryRequest(new URL(issuer('es'))), /HTTP/i); // without the option
  as = await discover('es');
  equal(await discover('es', 'oauth2'), as, 'the document of RFC 8414');
});

async function refreshes(id, auth) {
  const { refreshToken } = await issue('es', id);
  const got = await refresh(as, id, auth, refreshToken);
  equal(claimsOf(got.access_token).aud, id, 'aud');
  const again = await refresh(as, id, auth, got.refresh_token);
  equal([again.token_type, typeof again.expires_in], ['bearer', 'number'], 'the second answer');
}

await check('public client', () => refreshes('spa', oauth.None()));
await check('client_secret_basic', () => refreshes('web', oauth.ClientSecretBasic(world.secret)));
await check('client_secret_post', () => refreshes('web', oauth.ClientSecretPost(world.secret)));
const { subtle } = globalThis.crypto;
const es256 = { name: 'ECDSA', namedCurve: 'P-256' };
const key = { key: await subtle.importKey('jwk', world.key, es256, false, ['sign']), kid: world.key.kid };
if (!world.byKey) later('private_key_jwt');
if (world.byKey) await check('private_key_jwt', async () => {
  const auth = oauth.PrivateKeyJwt(key);
  const client = { client_id: 'keyed' };
  await refreshes('keyed', auth);
  const { refreshToken } = await issue('es', 'keyed');
  const asked = await oauth.introspectionRequest(as, client, auth, refreshToken, insecure);
  equal((await oauth.processIntrospectionResponse(as, client, asked)).active, true, 'active');
  await oauth.processRevocationResponse(await oauth.revocationRequest(as, client, auth, refreshToken, insecure));
  await refuses(() => refresh(as, 'keyed', auth, refreshToken), /invalid_grant/);
  await refuses(() => refresh(as, 'keyed', oauth.None(), refreshToken), /invalid_client/);
});

await check('fewer scopes', async () => {
  const { refreshToken } = await issue('es', 'spa');
  const ask = (scope) => ({ additionalParameters: { scope } });
  const got = await refresh(as, 'spa', oauth.None(), refreshToken, ask('orders:read'));
  equal(got.scope, 'orders:read', 'scope');
  const wide = await refresh(as, 'spa', oauth.None(), got.refresh_token);
  equal(wide.scope, 'orders:read orders:write', 'scope without asking');
  await refuses(() => refresh(as, 'spa', oauth.None(), wide.refresh_token, ask('admin')), /invalid_scope/);
});

await check('30 concurrent refreshes', async () => {
  const { refreshToken } = await issue('es', 'spa');
  const all = await Promise.all(Array.from({ length: 30 }, () => refresh(as, 'spa', oauth.None(), refreshToken)));
  const different = new Set(all.map((one) => `${one.refresh_token} ${one.access_token}`));
  equal(different.size, 1, 'different answers');
});

await check('revoke, then invalid_grant', async () => {
  for (const [id, auth] of [['spa', oauth.None()], ['web', oauth.ClientSecretBasic(world.secret)]]) {
    const { refreshToken } = await issue('es', id);
    const response = await oauth.revocationRequest(as, { client_id: id }, auth, refreshToken, insecure);
    await oauth.processRevocationResponse(response);
    await refuses(() => refresh(as, id, auth, refreshToken), /invalid_grant/);
  }
});

await check('introspection', async () => {
  const client = { client_id: 'web' };
  const session = await issue('es', 'web');
  for (const auth of [oauth.ClientSecretBasic(world.secret), oauth.ClientSecretPost(world.secret)]) {
    for (const token of [session.refreshToken, session.token]) {
      const response = await oauth.introspectionRequest(as, client, auth, token, insecure);
      const got = await oauth.processIntrospectionResponse(as, client, response);
      equal([got.active, got.sub, got.client_id], [true, 'ada', 'web'], 'introspection');
    }
    const response = await oauth.introspectionRequest(as, client, auth, 'nothing', insecure);
    equal(await oauth.processIntrospectionResponse(as, client, response), { active: false }, 'of an unknown token');
  }
});

await check('DPoP', async () => {
  for (const algorithm of ['ES256', 'RS256', 'PS256', 'Ed25519']) {
    const DPoP = oauth.DPoP({ client_id: 'spa' }, await oauth.generateKeyPair(algorithm));
    const { refreshToken } = await issue('es', 'spa');
    const got = await refresh(as, 'spa', oauth.None(), refreshToken, { DPoP });
    equal(got.token_type, 'dpop', `token_type, ${algorithm}`);
    equal(claimsOf(got.access_token).cnf, { jkt: await DPoP.calculateThumbprint() }, `cnf, ${algorithm}`);
  }
});

await check('DPoP, bound session', async () => {
  const DPoP = oauth.DPoP({ client_id: 'spa' }, await oauth.generateKeyPair('ES256'));
  const { refreshToken } = await issue('es', 'spa', { dpopJkt: await DPoP.calculateThumbprint() });
  const got = await refresh(as, 'spa', oauth.None(), refreshToken, { DPoP });
  const again = await refresh(as, 'spa', oauth.None(), got.refresh_token, { DPoP });
  await refuses(() => refresh(as, 'spa', oauth.None(), again.refresh_token), /invalid_dpop_proof/);
  const other = oauth.DPoP({ client_id: 'spa' }, await oauth.generateKeyPair('ES256'));
  await refuses(() => refresh(as, 'spa', oauth.None(), again.refresh_token, { DPoP: other }), /invalid_/);
});

await check('DPoP, demanded nonce', async () => {
  const strict = await discover('es', 'oidc', world.nonceUrl);
  const DPoP = oauth.DPoP({ client_id: 'spa' }, await oauth.generateKeyPair('ES256'));
  const { refreshToken } = await issue('es', 'spa', {}, world.nonceUrl);
  let refused;
  const got = await refresh(strict, 'spa', oauth.None(), refreshToken, { DPoP }).catch((error) => {
    refused = error;
    if (!oauth.isDPoPNonceError(error)) throw error;
    return refresh(strict, 'spa', oauth.None(), refreshToken, { DPoP }); // DPoP has the nonce of the refusal
  });
  equal([refused?.error, got.token_type], ['use_dpop_nonce', 'dpop'], 'the first error, token_type');
  await refresh(strict, 'spa', oauth.None(), got.refresh_token, { DPoP });
});

await check('token exchange', async () => {
  const client = { client_id: 'spa' };
  const { refreshToken } = await issue('es', 'spa');
  const response = await oauth.genericTokenEndpointRequest(
    as, client, oauth.None(), exchangeType, exchangeParameters(refreshToken), insecure);
  const got = await oauth.processGenericTokenEndpointResponse(as, client, response);
  equal([claimsOf(got.access_token).aud, got.scope], ['https://orders.example', 'orders:read'], 'aud, scope');
  const next = await refresh(as, 'spa', oauth.None(), got.refresh_token);
  equal(claimsOf(next.access_token).aud, 'spa', 'aud of a refresh');
});

// The access token of RFC 9068, as a resource server checks it. It reads the keys for each call.
const servers = new Map();
await verifier(
  async (token, tenant, algorithm, audience = 'spa') => {
    if (!servers.has(tenant)) servers.set(tenant, await discover(tenant));
    const request = new Request(`${world.url}/api`, { headers: { Authorization: `Bearer ${token}` } });
    return oauth.validateJwtAccessToken(servers.get(tenant), request, audience, {
      signingAlgorithms: [algorithm === 'EdDSA' ? 'Ed25519' : algorithm, algorithm],
      [oauth.clockTolerance]: 0,
      ...insecure,
    });
  },
  { audience: /aud/i, expired: /exp/i },
);
