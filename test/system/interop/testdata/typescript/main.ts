// Uses the client that openapi-typescript made from the document of a running service: it issues, exchanges, lists,
// retrieves and revokes, and ends with status 1 where something is not as the document says. There is no cast in it:
// that it compiles is half of the test. The service's address, tenant, application and API key are in the environment.
import createClient, { type Middleware } from "openapi-fetch";
import type { components, paths } from "./refreshd.js";

function environment(name: string): string {
  const value = process.env[name];
  if (value === undefined) throw new Error(`${name} is not set`);
  return value;
}

function want(condition: boolean, what: string, got: unknown): asserts condition {
  if (!condition) throw new Error(`${what}: got ${JSON.stringify(got)}`);
}

const baseUrl = environment("BASE_URL");
const backend: Middleware = {
  onRequest({ request }) {
    request.headers.set("Authorization", `Bearer ${environment("API_KEY")}`);
    request.headers.set("X-Stencil-TenantId", environment("TENANT"));
  },
};
const api = createClient<paths>({ baseUrl });
api.use(backend);
const device = createClient<paths>({ baseUrl }); // has no API key
const userId = "ada-typescript";
const applicationsId = environment("APPLICATION");

const issued = await api.POST("/jwt/issue", {
  body: { userId, applicationsId, roles: ["customer"], metaData: { device: { name: "Phone of Ada" } } },
});
want(issued.data !== undefined, "issue", issued.error);
const session = issued.data.data;
console.log(`issued ${session.refreshTokenId}, for ${session.refreshTokenExpiresIn} s`);

const exchanged = await device.POST("/jwt/refresh", { body: { refreshToken: session.refreshToken } });
want(exchanged.data !== undefined, "exchange", exchanged.error);
const next = exchanged.data.data;
want(next.refreshTokenId === session.refreshTokenId, "the exchanged refresh token", next.refreshTokenId);
want(next.refreshToken !== undefined && next.refreshToken !== session.refreshToken, "the next token string", next);
const token: string = next.token;
want(token.split(".").length === 3, "the access token", token);
const outcome = exchanged.response.headers.get("Refreshd-Outcome");
want(outcome === "rotated", "the outcome", outcome);
console.log(`exchanged, ${outcome}, the access token is for ${next.expiresIn} s`);

const list = await api.GET("/jwt/refresh", { params: { query: { userId, limit: 10 } } });
want(list.data !== undefined, "list", list.error);
const sessions: components["schemas"]["RefreshToken"][] = list.data.data;
const [one] = sessions;
want(one !== undefined && sessions.length === 1 && one.id === session.refreshTokenId, "the sessions", sessions);
want(one.generation === 2 && one.roles[0] === "customer", "the session", one);
console.log(`listed 1 session of ${one.userId}, generation ${one.generation}`);

const changed = await api.PATCH("/jwt/refresh/{id}", {
  params: { path: { id: session.refreshTokenId } },
  body: { roles: ["customer", "editor"], metaData: { device: { description: null } } },
});
want(changed.data?.data.roles.join() === "customer,editor", "change", changed.error ?? changed.data);
const ofUser = await api.PATCH("/jwt/refresh", {
  params: { query: { userId } },
  body: { claims: { plan: "gold", trial: null } },
});
want(ofUser.data?.data.changed === 1, "change the user's", ofUser.error ?? ofUser.data);
const roles = changed.data.data.roles.join();
console.log(`changed its roles to ${roles}, and a claim of ${ofUser.data.data.changed} session`);

const refused = await api.POST("/jwt/issue", { body: { userId: "", applicationsId } });
want(refused.error !== undefined && "errors" in refused.error, "an issue without a user", refused.data);
const code = refused.error.errors.fieldErrors?.["userId"]?.[0]?.code;
want(code === "[blank]userId", "the error's code", refused.error);
console.log(`refused an issue without a user: ${code}`);

const revoked = await api.DELETE("/jwt/refresh", { body: { tokenString: next.refreshToken } });
want(revoked.data?.data.tokenId === session.refreshTokenId, "revoke", revoked.error ?? revoked.data);
const gone = await api.GET("/jwt/refresh/{id}", { params: { path: { id: session.refreshTokenId } } });
want(gone.response.status === 404, "retrieve after the revocation", gone.response.status);
const all = await api.DELETE("/jwt/refresh", { body: { userId } });
want(all.data?.data.revokedBefore !== undefined, "revoke the user's", all.error ?? all.data);
console.log(`revoked it, and all of ${userId}`);

const keys = await device.GET("/t/{tenantId}/.well-known/jwks.json", {
  params: { path: { tenantId: environment("TENANT") } },
});
want(keys.data?.keys[0]?.kid !== undefined, "the key set", keys.error ?? keys.data);
console.log(`read ${keys.data.keys.length} public key`);

// What a compiler has to find: a required field that is missing, a name that does not exist.
// @ts-expect-error applicationsId is required
void ((): components["schemas"]["IssueRequest"] => ({ userId }));
// @ts-expect-error an alias is no name for new code
void ((): components["schemas"]["IssueRequest"] => ({ userId, applicationsId, userID: userId }));
