import * as client from 'openid-client';
import { check, claimsOf, equal, exchangeParameters, exchangeType, issue, issuer } from './lib.mjs';
import { later, refuses, world } from './lib.mjs';

const insecure = { execute: [client.allowInsecureRequests] };
const discover = (id, auth, options = {}) =>
  client.discovery(new URL(issuer('es')), id, undefined, auth, { ...insecure, ...options });

let spa;
await check('discovery', async () => {
  await refuses(() => client.discovery(new URL(issuer('es')), 'spa', undefined, client.None()), /HTTP/i);
  spa = await discover('spa', client.None());
  const other = await discover('spa', client.None(), { algorithm: 'oauth2' });
  equal(other.serverMetadata(), spa.serverMetadata(), 'the document of RFC 8414');
});

async function refreshes(id, auth) {
  const config = await discover(id, auth);
  const { refreshToken } = await issue('es', id);
  const got = await client.refreshTokenGrant(config, refreshToken);
  equal(claimsOf(got.access_token).aud, id, 'aud');
  const again = await client.refreshTokenGrant(config, got.refresh_token);
  equal([again.token_type, again.expiresIn() > 0], ['bearer', true], 'the second answer');
}

await check('public client', () => refreshes('spa', client.None()));
await check('client_secret_basic', () => refreshes('web', client.ClientSecretBasic(world.secret)));
await check('client_secret_post', () => refreshes('web', client.ClientSecretPost(world.secret)));
const es256 = { name: 'ECDSA', namedCurve: 'P-256' };
const key = await globalThis.crypto.subtle.importKey('jwk', world.key, es256, false, ['sign']);
if (!world.byKey) later('private_key_jwt');
if (world.byKey) await check('private_key_jwt', async () => {
  const config = await discover('keyed', client.PrivateKeyJwt(key));
  await refreshes('keyed', client.PrivateKeyJwt(key));
  const { refreshToken } = await issue('es', 'keyed');
  equal((await client.tokenIntrospection(config, refreshToken)).active, true, 'active');
  await client.tokenRevocation(config, refreshToken);
  await refuses(() => client.refreshTokenGrant(config, refreshToken), /invalid_grant/);
});

await check('fewer scopes', async () => {
  const { refreshToken } = await issue('es', 'spa');
  const got = await client.refreshTokenGrant(spa, refreshToken, { scope: 'orders:read' });
  equal(got.scope, 'orders:read', 'scope');
  const wide = await client.refreshTokenGrant(spa, got.refresh_token);
  equal(wide.scope, 'orders:read orders:write', 'scope without asking');
  await refuses(() => client.refreshTokenGrant(spa, wide.refresh_token, { scope: 'admin' }), /invalid_scope/);
});

await check('30 concurrent refreshes', async () => {
  const { refreshToken } = await issue('es', 'spa');
  const all = await Promise.all(Array.from({ length: 30 }, () => client.refreshTokenGrant(spa, refreshToken)));
  equal(new Set(all.map((one) => `${one.refresh_token} ${one.access_token}`)).size, 1, 'different answers');
});

await check('revoke, then invalid_grant', async () => {
  for (const [id, auth] of [['spa', client.None()], ['web', client.ClientSecretBasic(world.secret)]]) {
    const config = await discover(id, auth);
    const { refreshToken } = await issue('es', id);
    await client.tokenRevocation(config, refreshToken);
    await refuses(() => client.refreshTokenGrant(config, refreshToken), /invalid_grant/);
  }
});

await check('introspection', async () => {
  const session = await issue('es', 'web');
  for (const auth of [client.ClientSecretBasic(world.secret), client.ClientSecretPost(world.secret)]) {
    const config = await discover('web', auth);
    for (const token of [session.refreshToken, session.token]) {
      const got = await client.tokenIntrospection(config, token);
      equal([got.active, got.sub, got.client_id], [true, 'ada', 'web'], 'introspection');
    }
    equal(await client.tokenIntrospection(config, 'nothing'), { active: false }, 'of an unknown token');
  }
});

await check('DPoP', async () => {
  const keys = await client.randomDPoPKeyPair();
  const DPoP = client.getDPoPHandle(spa, keys);
  const { refreshToken } = await issue('es', 'spa');
  const got = await client.refreshTokenGrant(spa, refreshToken, undefined, { DPoP });
  equal(got.token_type, 'dpop', 'token_type');
  equal(claimsOf(got.access_token).cnf, { jkt: await DPoP.calculateThumbprint() }, 'cnf');
});

await check('DPoP, bound session', async () => {
  const DPoP = client.getDPoPHandle(spa, await client.randomDPoPKeyPair());
  const { refreshToken } = await issue('es', 'spa', { dpopJkt: await DPoP.calculateThumbprint() });
  const got = await client.refreshTokenGrant(spa, refreshToken, undefined, { DPoP });
  await client.refreshTokenGrant(spa, got.refresh_token, undefined, { DPoP });
  await refuses(() => client.refreshTokenGrant(spa, got.refresh_token), /invalid_dpop_proof/);
});

await check('DPoP, demanded nonce', async () => {
  const strict = await client.discovery(
    new URL(issuer('es', world.nonceUrl)), 'spa', undefined, client.None(), insecure);
  const DPoP = client.getDPoPHandle(strict, await client.randomDPoPKeyPair());
  const { refreshToken } = await issue('es', 'spa', {}, world.nonceUrl);
  const got = await client.refreshTokenGrant(strict, refreshToken, undefined, { DPoP }); // sends it twice
  equal(got.token_type, 'dpop', 'token_type');
  await client.refreshTokenGrant(strict, got.refresh_token, undefined, { DPoP });
});

await check('token exchange', async () => {
  const { refreshToken } = await issue('es', 'spa');
  const got = await client.genericGrantRequest(spa, exchangeType, exchangeParameters(refreshToken));
  equal([claimsOf(got.access_token).aud, got.scope], ['https://orders.example', 'orders:read'], 'aud, scope');
  const next = await client.refreshTokenGrant(spa, got.refresh_token);
  equal(claimsOf(next.access_token).aud, 'spa', 'aud of a refresh');
});
