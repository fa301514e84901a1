"""Verifies access tokens by PyJWT. It finds the keys by the issuer alone."""

import json
import os
import re
import urllib.request

import jwt

with open(os.environ['WORLD'], encoding='utf-8') as file:
    world = json.load(file)
rotated = world['rotations'][os.environ['CLIENT']]
tenants = {'EdDSA': 'ed', 'ES256': 'es', 'RS256': 'rs', 'PS256': 'ps'}
clients = {}


def check(name, run):
    """Runs a check, and prints its result."""
    line = {'check': name}
    try:
        run()
    except Exception as error:
        line['error'] = f'{type(error).__name__}: {error}'
    print(json.dumps(line), flush=True)


def issuer(tenant):
    return f"{world['url']}/t/{tenant}"


def send(path, tenant, body):
    headers = {'Authorization': world['apiKey'], 'X-Stencil-TenantId': tenant, 'Content-Type': 'application/json'}
    request = urllib.request.Request(world['url'] + path, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request) as response:
        return json.load(response)['data']


def issue(tenant, application):
    return send('/jwt/issue', tenant, {'userId': 'ada', 'applicationsId': application})['token']


def verify(token, tenant, algorithm, audience='spa'):
    if tenant not in clients:
        with urllib.request.urlopen(issuer(tenant) + '/.well-known/openid-configuration') as response:
            clients[tenant] = jwt.PyJWKClient(json.load(response)['jwks_uri'])
    key = clients[tenant].get_signing_key_from_jwt(token).key
    return jwt.decode(token, key, algorithms=[algorithm], issuer=issuer(tenant), audience=audience,
                      options={'require': ['exp', 'iss', 'aud', 'sub']})


def refuses(run, why):
    try:
        run()
    except jwt.PyJWTError as error:
        if not re.search(why, str(error), re.IGNORECASE):
            raise
        return
    raise AssertionError(f'it was not refused ({why})')


def verifies(tenant, algorithm):
    claims = verify(issue(tenant, 'spa'), tenant, algorithm)
    assert (claims['sub'], claims['iss']) == ('ada', issuer(tenant)), claims


def finds_new_key():
    before = issue(rotated, 'spa')
    verify(before, rotated, 'ES256')
    kid = jwt.get_unverified_header(before)['kid']
    send(f'/key/revoke/{kid}', rotated, {'newKey': True})
    after = issue(rotated, 'spa')
    assert jwt.get_unverified_header(after)['kid'] != kid, 'the key was not replaced'
    verify(after, rotated, 'ES256')


for algorithm, tenant in tenants.items():
    check(algorithm, lambda: verifies(tenant, algorithm))
other = issue('es', 'web')
check('other audience refused', lambda: refuses(lambda: verify(other, 'es', 'ES256'), 'audience'))
check('expired refused', lambda: refuses(lambda: verify(world['expired'], 'es', 'ES256', 'brief'), 'expired'))
check('new key found by its kid', finds_new_key)
