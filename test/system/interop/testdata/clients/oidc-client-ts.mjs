// A page that uses oidc-client-ts. It stores what a login would have stored, and sends the result of each check to the
// server that it came from.
const { IndexedDbDPoPStore, User, UserManager, WebStorageStateStore } = globalThis.oidc;

const send = (path, body) => fetch(path, { method: 'POST', body: JSON.stringify(body) });
const world = await (await fetch('/world')).json();
const issuer = (at) => `${at}/t/es`;
const authority = issuer(world.url);

async function check(name, run) {
  try {
    await run();
    await send('/result', { check: name });
  } catch (error) {
    await send('/result', { check: name, error: `${error?.error ?? ''} ${error?.message ?? error}`.trim() });
  }
}

function equal(got, want, what) {
  const [a, b] = [JSON.stringify(got), JSON.stringify(want)];
  if (a !== b) throw new Error(`${what}: got ${a}, want ${b}`);
}

async function refuses(run, why) {
  let said;
  try {
    await run();
  } catch (error) {
    said = `${error.error} ${error.message}`;
  }
  if (said === undefined || !why.test(said)) throw new Error(`got ${said}, want ${why}`);
}

const claimsOf = (token) => JSON.parse(atob(token.split('.')[1].replaceAll('-', '+').replaceAll('_', '/')));

const settings = {
  authority,
  client_id: 'spa',
  redirect_uri: `${location.origin}/`,
  scope: 'openid offline_access orders:read orders:write',
  userStore: new WebStorageStateStore({ store: localStorage }),
};

// login returns a manager of a user who has just logged in at a service.
async function login(more = {}, at = world.url) {
  const application = more.client_id ?? settings.client_id;
  const session = await (await send('/issue', { url: at, application })).json();
  const manager = new UserManager({ ...settings, authority: issuer(at), ...more });
  await manager.storeUser(
    new User({
      access_token: session.token,
      refresh_token: session.refreshToken,
      token_type: 'Bearer',
      scope: settings.scope,
      profile: { sub: 'ada', iss: issuer(at), aud: application, exp: 0, iat: 0 },
      expires_at: 0,
    }),
  );
  return manager;
}

await check('discovery', async () => {
  const manager = new UserManager(settings);
  equal(await manager.metadataService.getIssuer(), authority, 'issuer');
  equal(await manager.metadataService.getTokenEndpoint(), `${authority}/oauth2/token`, 'token endpoint');
  equal((await manager.metadataService.getSigningKeys()).length > 0, true, 'keys');
});

await check('public client', async () => {
  const manager = await login();
  const before = await manager.getUser();
  const user = await manager.signinSilent();
  equal(user.refresh_token === before.refresh_token, false, 'the refresh token did not rotate: it is the same');
  equal([claimsOf(user.access_token).aud, user.expired], ['spa', false], 'aud, expired');
  await manager.signinSilent(); // sends the scope again that it has stored
});

await check('30 concurrent refreshes', async () => {
  const manager = await login();
  const stored = (await manager.getUser()).refresh_token;
  const others = Array.from({ length: 29 }, () => new UserManager(settings)); // as further tabs
  const all = await Promise.all([manager, ...others].map((one) => one.signinSilent()));
  equal(new Set(all.map((one) => one.refresh_token)).size, 1, 'different refresh tokens');
  equal(all[0].refresh_token === stored, false, 'the refresh token did not rotate: it is the same');
});

await check('revoke, then invalid_grant', async () => {
  const manager = await login();
  const stored = await manager.getUser();
  await manager.revokeTokens(['refresh_token']);
  await manager.storeUser(stored); // as another tab has it
  await refuses(() => manager.signinSilent(), /invalid_grant/);
});

await check('other origin refused', async () => {
  const manager = await login({ client_id: 'elsewhere' });
  await refuses(() => manager.signinSilent(), /invalid_request.*origin/i); // the page reads why
});

await check('DPoP', async () => {
  const manager = await login({ dpop: { store: new IndexedDbDPoPStore() } });
  const user = await manager.signinSilent();
  equal(user.token_type.toLowerCase(), 'dpop', 'token_type');
  equal(typeof claimsOf(user.access_token).cnf.jkt, 'string', 'cnf');
});

await check('DPoP, demanded nonce', async () => {
  const manager = await login({ dpop: { store: new IndexedDbDPoPStore() } }, world.nonceUrl);
  const user = await manager.signinSilent();
  equal(user.token_type.toLowerCase(), 'dpop', 'token_type');
  await manager.signinSilent();
});

await send('/end', {});
