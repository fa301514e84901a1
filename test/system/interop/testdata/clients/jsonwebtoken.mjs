import jwt from 'jsonwebtoken';
import jwksClient from 'jwks-rsa';
import { issuer, verifier } from './lib.mjs';

const clients = new Map();

async function clientOf(tenant) {
  if (!clients.has(tenant)) {
    const metadata = await (await fetch(`${issuer(tenant)}/.well-known/openid-configuration`)).json();
    clients.set(tenant, jwksClient({ jwksUri: metadata.jwks_uri }));
  }
  return clients.get(tenant);
}

await verifier(async (token, tenant, algorithm, audience = 'spa') => {
  const client = await clientOf(tenant);
  const key = (header, done) =>
    client.getSigningKey(header.kid, (error, found) => done(error, found?.getPublicKey()));
  return new Promise((resolve, reject) => {
    const options = { issuer: issuer(tenant), audience, algorithms: [algorithm] };
    jwt.verify(token, key, options, (error, claims) => (error ? reject(error) : resolve(claims)));
  });
});
