// An OpenID Provider made with the npm package `oidc-provider`, which is certified by the OpenID Foundation: it wants PKCE, tells
// addresses by its UserInfo endpoint only, and names itself in each answer (RFC 9207). With `inIdToken` it writes the claims into
// the ID token, as Apple and Cognito do, and takes the client's secret in the body only.

import { generateKeyPairSync, randomBytes } from "node:crypto";
import { createServer } from "node:http";
import Provider, { interactionPolicy } from "oidc-provider";

/** Starts it. `people` maps an account to its claims; `front.person` is who sits in front of it. */
export async function startProvider(issuer, redirectUri, client, people, { inIdToken = false } = {}) {
  const front = { person: null, asked: [], prompts: [] };
  const policy = interactionPolicy.base();
  policy.add(new interactionPolicy.Prompt({ name: "select_account", requestable: true }), 0);
  const authMethod = inIdToken ? "client_secret_post" : "client_secret_basic";
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const key = { ...privateKey.export({ format: "jwk" }), kid: "one", use: "sig", alg: "RS256" };
  const provider = new Provider(issuer, {
    clients: [{ client_id: client.id, client_secret: client.secret, redirect_uris: [redirectUri], token_endpoint_auth_method: authMethod, response_types: ["code"], grant_types: ["authorization_code"] }],
    jwks: { keys: [key] },
    cookies: { keys: [randomBytes(32).toString("hex")] },
    pkce: { required: () => true },
    ttl: { Interaction: 600, Session: 600, Grant: 600, AccessToken: 600, IdToken: 600 },
    claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["preferred_username", "updated_at", "locale", "picture"] },
    conformIdTokenClaims: !inIdToken,
    clientAuthMethods: [authMethod],
    features: { devInteractions: { enabled: false } },
    interactions: { policy, url: (_, interaction) => `/interaction/${interaction.uid}` },
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, ...people[id] }) }),
  });

  // Whoever is sent here is the person of the moment, and allows everything.
  async function interact(request, response) {
    const { prompt, params, session } = await provider.interactionDetails(request, response);
    front.prompts.push(prompt.name);
    if (prompt.name === "select_account") {
      const login = { accountId: front.person, remember: false };
      return provider.interactionFinished(request, response, { select_account: {}, login });
    }
    if (prompt.name === "login") {
      return provider.interactionFinished(request, response, { login: { accountId: front.person, remember: false } });
    }
    const grant = new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
    grant.addOIDCScope(params.scope);
    return provider.interactionFinished(request, response, { consent: { grantId: await grant.save() } }, { mergeWithLastSubmission: true });
  }

  const handle = provider.callback();
  const server = createServer((request, response) => {
    front.asked.push(request.url);
    if (!request.url.startsWith("/interaction/")) return handle(request, response);
    return interact(request, response).catch((error) => {
      response.statusCode = 500;
      response.end(String(error));
    });
  });
  const { hostname, port } = new URL(issuer);
  await new Promise((resolve) => { server.listen(Number(port), hostname, resolve); });
  return { front, stop: () => server.close() };
}
