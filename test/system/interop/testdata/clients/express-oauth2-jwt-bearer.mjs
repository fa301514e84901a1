import { once } from 'node:events';
import express from 'express';
import { auth } from 'express-oauth2-jwt-bearer';
import { issuer, verifier } from './lib.mjs';

const servers = new Map();

// serverOf starts an API of a tenant. It finds the keys by the issuer alone. strict asks for the claims of RFC 9068.
async function serverOf(tenant, audience) {
  const name = `${tenant} ${audience}`;
  if (!servers.has(name)) {
    const app = express();
    app.use(auth({ issuerBaseURL: issuer(tenant), audience, strict: true, clockTolerance: 0, cooldownDuration: 0 }));
    app.get('/', (request, response) => response.json(request.auth.payload));
    app.use((error, request, response, next) => {
      response.set(error.headers ?? {}).status(error.status ?? 500).send(error.message);
    });
    const server = app.listen(0, '127.0.0.1');
    await once(server, 'listening');
    servers.set(name, server);
  }
  return servers.get(name);
}

await verifier(async (token, tenant, algorithm, audience = 'spa') => {
  const { port } = (await serverOf(tenant, audience)).address();
  const response = await fetch(`http://127.0.0.1:${port}/`, { headers: { Authorization: `Bearer ${token}` } });
  if (response.ok) return response.json();
  throw new Error(`${response.status} ${await response.text()}`);
});
for (const server of servers.values()) {
  server.close();
  server.closeAllConnections();
}
