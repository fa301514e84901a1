import { createRemoteJWKSet, jwtVerify } from 'jose';
import { issuer, verifier } from './lib.mjs';

const sets = new Map();

async function keysOf(tenant) {
  if (!sets.has(tenant)) {
    const metadata = await (await fetch(`${issuer(tenant)}/.well-known/openid-configuration`)).json();
    sets.set(tenant, createRemoteJWKSet(new URL(metadata.jwks_uri), { cooldownDuration: 0 }));
  }
  return sets.get(tenant);
}

await verifier(async (token, tenant, algorithm, audience = 'spa') => {
  const options = { issuer: issuer(tenant), audience, typ: 'at+jwt', algorithms: [algorithm] };
  return (await jwtVerify(token, await keysOf(tenant), options)).payload;
});
