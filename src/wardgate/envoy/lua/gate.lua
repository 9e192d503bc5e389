-- What Envoy cannot do by itself, in one text that stands in the chain twice (Envoy lets two Lua filters share their
-- tables only when they have the same text and the same `shared_vm_id`: run on 1.40):
--
--   guard   the first filter that looks at a request. It refuses what a second reader could read differently, and takes
--           out the one credential: our session cookie, or a bearer token held to one spelling. It grants nothing: what
--           it lets through is still verified and judged. What this worker does not know yet it marks for the service
--           to resolve (ext_authz, three filters further on), which answers with an attested token.
--   claims  after jwt_authn, before RBAC. It writes what jwt_authn verified as text into one header that RBAC matches
--           (claims.py says how), and the identity headers that the upstream is told. It decides nothing: without the
--           header of claims RBAC denies.
--
-- For a credential that is known the guard does it all, and Envoy skips the claims filter (a matcher on the header of
-- claims). Each filter has a context from the route: `set` (the guard's) or `put` (the claims filter's), one text of
-- lines divided by tabs (claims.py, `Terms`): first what the route accepts, then its identity headers (name, key in the
-- claims, separator). (A context of several values or nested lists instead costs each request microseconds: Envoy
-- copies it; one text is parsed once and found again.)
--
-- Lua fails open: after an error in here the request would go on. So the last act of every way through the guard is the
-- mark x-wardgate-guarded, and RBAC denies every request that lacks it, or lacks claims where a credential is required.
-- (A header, as metadata costs each request five times as much; what the access log alone is told stays there.)
--
-- The text never changes with policy (MODE is one of three constants), so a reload keeps what is known.

local MODE = "@MODE@" -- required | permissive | open

local find, sub, byte, lower, gsub, match = string.find, string.sub, string.byte, string.lower, string.gsub, string.match
local char, concat, floor, format, gmatch = string.char, table.concat, math.floor, string.format, string.gmatch
local rep = string.rep
local now, max = os.time, math.max


-- Paths ------------------------------------------------------------------------------------------------------------

-- What no path holds after normalization: see UNSAFE_PATH in policy/paths.py, which says the same in one regex.
local UNSAFE = {
  "[;\\#%c ]", "//", "%./", "%.$",
  "%%2[eEfF35]", "%%5[cC]", "%%3[bBfF]", "%%7[fF]", "%%[01]%x", "%%%X", "%%%x%X", "%%%x?$",
  "/%%20", "%%20/", "%%20$", "%%[cC][01]", "%%[fF][5-9a-fA-F]", "%%[eE]0%%[89]", "%%[fF]0%%8",
}

local function unsafe(path)
  for i = 1, #UNSAFE do
    if find(path, UNSAFE[i]) then return true end
  end
  return false
end

-- Tokens -----------------------------------------------------------------------------------------------------------

local DIGIT = {}
for i = 1, 64 do
  DIGIT[byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", i)] = i - 1
end

-- base64url without padding (RFC 7515, 2); nil when the last character has bits that mean nothing.
local function decode(text)
  local out, n, size = {}, 0, #text
  for i = 1, size - 3, 4 do
    local a, b, c, d = byte(text, i, i + 3)
    local bits = DIGIT[a] * 262144 + DIGIT[b] * 4096 + DIGIT[c] * 64 + DIGIT[d]
    n = n + 1
    out[n] = char(floor(bits / 65536), floor(bits / 256) % 256, bits % 256)
  end
  local rest = size % 4
  if rest == 1 then return nil end
  if rest == 2 then
    local a, b = byte(text, size - 1, size)
    if DIGIT[b] % 16 ~= 0 then return nil end
    out[n + 1] = char(DIGIT[a] * 4 + floor(DIGIT[b] / 16))
  elseif rest == 3 then
    local a, b, c = byte(text, size - 2, size)
    if DIGIT[c] % 4 ~= 0 then return nil end
    local bits = DIGIT[a] * 1024 + DIGIT[b] * 16 + floor(DIGIT[c] / 4)
    out[n + 1] = char(floor(bits / 256), bits % 256)
  end
  return concat(out)
end

local function canonical(text)
  local rest, last = #text % 4, DIGIT[byte(text, -1)]
  return rest == 0 or (rest == 2 and last % 16 == 0) or (rest == 3 and last % 4 == 0)
end

-- Strict JSON (RFC 8259): one object, no duplicate names at any depth, nothing after it. Envoy's own reader takes
-- more (single quotes, duplicate names), and a second reader may then see other claims. Values are kept only as
-- far as the checks below need them: strings, numbers, and tables.
local json_value

local function skip(text, at)
  return find(text, "[^ \t\r\n]", at) or #text + 1
end

local ESCAPES = { ['"'] = '"', ["\\"] = "\\", ["/"] = "/", b = "\b", f = "\f", n = "\n", r = "\r", t = "\t" }

-- The string that starts at `at`, and where it ends. Escapes beyond ASCII are kept as they are written: two
-- spellings of one name are found out below, where a name with an escape is refused.
local function json_string(text, at)
  local from = at + 1
  local plain = find(text, '["\\%z\1-\31]', from)
  if not plain then return nil end
  if byte(text, plain) == 34 then return sub(text, from, plain - 1), plain + 1, false end
  local parts = {}
  while true do
    local stop = find(text, '["\\%z\1-\31]', from)
    if not stop then return nil end
    parts[#parts + 1] = sub(text, from, stop - 1)
    local what = byte(text, stop)
    if what == 34 then return concat(parts), stop + 1, true end
    if what ~= 92 then return nil end
    local letter = sub(text, stop + 1, stop + 1)
    if letter == "u" then
      local hex = match(text, "^%x%x%x%x", stop + 2)
      if not hex then return nil end
      parts[#parts + 1] = "\\u" .. lower(hex)
      from = stop + 6
    else
      if not ESCAPES[letter] then return nil end
      parts[#parts + 1] = ESCAPES[letter]
      from = stop + 2
    end
  end
end

local function json_object(text, at, depth)
  local object = {}
  at = skip(text, at + 1)
  if byte(text, at) == 125 then return object, at + 1 end
  while true do
    if byte(text, at) ~= 34 then return nil end
    local name, next, escaped = json_string(text, at)
    if not name or escaped or object[name] ~= nil then return nil end
    at = skip(text, next)
    if byte(text, at) ~= 58 then return nil end
    local value
    value, at = json_value(text, skip(text, at + 1), depth)
    if value == nil then return nil end
    object[name] = value
    at = skip(text, at)
    local mark = byte(text, at)
    if mark == 125 then return object, at + 1 end
    if mark ~= 44 then return nil end
    at = skip(text, at + 1)
  end
end

local function json_array(text, at, depth)
  local array, n = {}, 0
  at = skip(text, at + 1)
  if byte(text, at) == 93 then return array, at + 1 end
  while true do
    local value
    value, at = json_value(text, at, depth)
    if value == nil then return nil end
    n = n + 1
    array[n] = value
    at = skip(text, at)
    local mark = byte(text, at)
    if mark == 93 then return array, at + 1 end
    if mark ~= 44 then return nil end
    at = skip(text, at + 1)
  end
end

local WORDS = { t = "true", f = "false", n = "null" }

function json_value(text, at, depth)
  if depth > 32 then return nil end
  local first = sub(text, at, at)
  if first == '"' then
    return json_string(text, at)
  elseif first == "{" then
    return json_object(text, at, depth + 1)
  elseif first == "[" then
    return json_array(text, at, depth + 1)
  elseif WORDS[first] then
    local word = WORDS[first]
    if sub(text, at, at + #word - 1) ~= word then return nil end
    return first == "t", at + #word
  end
  local number = match(text, "^-?%d+%.?%d*[eE]?[+-]?%d*", at)
  if not number or not tonumber(number) or find(number, "^-?0%d") or find(number, "%.$") or find(number, "%.[eE]") then
    return nil
  end
  return tonumber(number), at + #number
end

local function json(text)
  local at = skip(text, 1)
  if byte(text, at) ~= 123 then return nil end
  local object, stop = json_object(text, at, 0)
  if not object or skip(text, stop) <= #text then return nil end
  return object
end

-- Members of a JOSE header that change what a signature means or where its key comes from (RFC 7515, 4.1; RFC 7797).
local HEADER_REFUSED = { "crit", "b64", "zip", "enc", "jwk", "jku", "x5u", "x5c" }
local HEADER_TYPES = { ["jwt"] = true, ["at+jwt"] = true, ["application/at+jwt"] = true, ["application/jwt"] = true }

-- Payload `typ` of Keycloak's tokens that are no access tokens, in lower case; most are signed with the same key.
local PAYLOAD_REFUSED = {
  id = true, refresh = true, logout = true, offline = true, dpop = true,
  registrationaccesstoken = true, initialaccesstoken = true,
}

local function header_reason(object)
  for i = 1, #HEADER_REFUSED do
    if object[HEADER_REFUSED[i]] ~= nil then return "token-critical" end
  end
  if type(object.alg) ~= "string" then return "token-malformed" end
  local kind = object.typ
  if kind ~= nil and not (type(kind) == "string" and HEADER_TYPES[lower(kind)]) then return "token-type" end
  if object.kid ~= nil and type(object.kid) ~= "string" then return "token-malformed" end
  return nil
end

local function is_time(value)
  return value == nil or (type(value) == "number" and value >= 0 and value < 253402300800)
end

local function payload_reason(object)
  local kind = object.typ
  if kind ~= nil and (type(kind) ~= "string" or PAYLOAD_REFUSED[lower(kind)]) then return "token-type" end
  if object.cnf ~= nil then return "token-bound" end
  if object.events ~= nil or object.at_hash ~= nil or object.c_hash ~= nil then return "token-type" end
  if object.nonce ~= nil and kind ~= "Bearer" then return "token-type" end -- an ID token; old Keycloaks add it to access tokens
  if not (is_time(object.exp) and is_time(object.iat) and is_time(object.nbf)) then return "token-malformed" end
  if type(object.iss) ~= "string" then return "token-issuer" end
  if object.sub ~= nil and type(object.sub) ~= "string" then return "token-malformed" end
  return nil
end

-- The reason to refuse a value of Authorization, or nil, its header segment and its kid. Called once per token and worker.
local function refusal(value)
  local header, payload, signature = match(value, "^Bearer ([%w_-]+)%.([%w_-]+)%.([%w_-]+)$")
  if not header then return "credential-malformed" end
  if not canonical(signature) then return "token-malformed" end
  local text = decode(header)
  local object = text and json(text)
  if not object then return "token-malformed" end
  local reason, kid = header_reason(object), object.kid
  if reason then return reason end
  text = decode(payload)
  object = text and json(text)
  if not object then return "token-malformed" end
  return payload_reason(object), header, kid
end

-- A bearer token that only its issuer can read (RFC 6750, 2.1), told from a broken JWT: no first part of it is a JOSE
-- header.
local function opaque(value)
  local token = match(value, "^Bearer ([%w%-._~+/]+=*)$")
  if not token or #token > 4096 then return nil end
  local first = match(token, "^([%w_-]+)%.[%w_-]*%.[%w_-]*$")
  local text = first and decode(first)
  if text and json(text) then return nil end
  return token
end

-- Claims as text ---------------------------------------------------------------------------------------------------

local function hex(c)
  return format("%%%02X", byte(c))
end

-- So that no name and no value holds a mark of the text: | = . % and whatever is not plain.
local function plain(text)
  return (gsub(text, "[^%w_%-:/@+,]", hex))
end

local function number(value)
  if value == floor(value) and value > -1e15 and value < 1e15 then return format("%d", value) end
  return format("%.17g", value)
end

local function typed(value)
  local kind = type(value)
  if kind == "string" then return "s" .. plain(value) end
  if kind == "number" then return "n" .. number(value) end
  if kind == "boolean" then return value and "bt" or "bf" end
  return nil
end

local function flatten(object, path, parts)
  for key, value in pairs(object) do
    if type(key) == "number" then -- an element of a list: same name for each; lists in lists are no claims
      local text = typed(value)
      if text then parts[#parts + 1] = path .. "=" .. text end
    else
      local inner = path == "" and plain(key) or path .. "." .. plain(key)
      if type(value) == "table" then
        flatten(value, inner, parts)
      else
        local text = typed(value)
        if text then parts[#parts + 1] = inner .. "=" .. text end
      end
    end
  end
end

-- `scope` is a text of words (RFC 8693, 4.2), with some issuers a list: each word once more, under a name of its own.
local function scopes(scope, parts)
  if type(scope) == "string" then
    for word in gmatch(scope, "[^ ]+") do parts[#parts + 1] = "~scope=s" .. plain(word) end
  elseif type(scope) == "table" then
    for _, word in pairs(scope) do
      if type(word) == "string" then parts[#parts + 1] = "~scope=s" .. plain(word) end
    end
  end
end

local function text_of(payload)
  local parts = {}
  flatten(payload, "", parts)
  scopes(payload.scope, parts)
  return "|" .. concat(parts, "|") .. "|"
end

-- The claims of an attested token are those of the tokens that the service verified, `via` is how they came: no claim
-- can be called ~via, ~id or ~userinfo, since ~ is encoded in names.
local function attested_text(payload)
  local parts = { "~via=s" .. plain(payload.via) }
  flatten(payload.claims, "", parts)
  scopes(payload.claims.scope, parts)
  if type(payload.id) == "table" then flatten(payload.id, "~id", parts) end
  if type(payload.userinfo) == "table" then flatten(payload.userinfo, "~userinfo", parts) end
  return "|" .. concat(parts, "|") .. "|"
end

-- Identity headers -------------------------------------------------------------------------------------------------

local function unplain(text)
  return (gsub(text, "%%(%x%x)", function(code) return char(tonumber(code, 16)) end))
end

local function readable(value, separator)
  local kind, text = sub(value, 1, 1), sub(value, 2)
  if kind == "b" then return text == "t" and "true" or "false" end
  if kind == "n" then return text end
  text = gsub(unplain(text), "[%z\1-\8\10-\31\127]", hex)
  if separator and find(text, separator, 1, true) then
    local pattern = gsub(separator, "%p", "%%%0")
    local code = gsub(gsub(separator, ".", hex), "%%", "%%%%")
    text = gsub(text, pattern, code)
  end
  return text
end

-- All values of a claim: one as it is, several joined; nil when there is none.
local function value_of(claims, key, separator)
  local found, at = {}, 1
  while true do
    local from, to = find(claims, key, at, true)
    if not from then break end
    local stop = find(claims, "|", to + 1, true)
    found[#found + 1] = sub(claims, to + 1, stop - 1)
    at = stop -- the mark that ends this value may begin the next
  end
  if #found == 0 then return nil end
  for i = 1, #found do found[i] = readable(found[i], #found > 1 and separator or nil) end
  return concat(found, separator)
end

local function quoted(text)
  return '"' .. gsub(text, '[%c"\\]', function(c) return format("\\u%04x", byte(c)) end) .. '"'
end

-- Who calls, as a document (role_mapping.py): the subject, and the roles of the realm and of one client.
local function answer(claims, client)
  local roles, seen = {}, {}
  for _, key in ipairs({ "|realm_access.roles=s", "|resource_access." .. plain(client) .. ".roles=s" }) do
    local at = 1
    while true do
      local from, to = find(claims, key, at, true)
      if not from then break end
      at = find(claims, "|", to + 1, true)
      local role = unplain(sub(claims, to + 1, at - 1))
      if not seen[role] then roles[#roles + 1], seen[role] = quoted(role), true end
    end
  end
  local subject = match(claims, "|sub=s([^|]*)|")
  return '{"message":"Authentication successful","user_id":' .. (subject and quoted(unplain(subject)) or "null")
    .. ',"roles":[' .. concat(roles, ",") .. "]}"
end

-- The headers of one set for one credential: {name, value, name, value, ...}. A key that is no claim's is a token.
local function identity(set, entry)
  local result = {}
  for name, key, separator in gmatch(set, "([^\t\n]+)\t([^\t\n]*)\t([^\t\n]*)") do
    local value
    if key == "access" then
      value = entry.access
    elseif key == "id" then
      value = entry.id
    elseif key == "answer" then
      value = answer(entry.claims, unplain(separator))
    else
      value = value_of(entry.claims, key, unplain(separator))
    end
    if value and value ~= "" then
      result[#result + 1] = name
      result[#result + 1] = value
    end
  end
  return result
end

-- The terms of a route -------------------------------------------------------------------------------------------

-- The first line of a context: words of the form name=value, divided by tabs. What it does not say is not accepted,
-- except that a route without any context takes JWTs.
local JWTS_ONLY = { bearer = "jwt", headers = "" }
local parsed, parsed_count = {}, 0

-- Where credentials are: words of the form carrier;name;prefix.
local function places_of(text)
  local places = {}
  for carrier, name, prefix in gmatch(text, "(%a+);([^; ]+);([^ ]*)") do
    places[#places + 1] = { carrier = carrier, name = unplain(name), prefix = unplain(prefix) }
  end
  return places
end

local function terms(text)
  if not text then return JWTS_ONLY end
  local found = parsed[text]
  if found then return found end
  local stop = find(text, "\n", 1, true) or #text + 1
  found = { headers = sub(text, stop + 1), origins = {} }
  for name, value in gmatch(sub(text, 1, stop - 1), "([^\t=]+)=([^\t]*)") do found[name] = value end
  for origin in gmatch(found.origin or "", "[^ ]+") do found.origins[origin] = true end
  if found.pages then
    local pages = {}
    for origin in gmatch(found.pages, "[^ ]+") do pages[origin] = true end
    found.pages = pages
  end
  if found.via then
    found.vias = {}
    for via in gmatch(found.via, "[^ ]+") do found.vias[via] = true end
  end
  if found.places then
    found.places = places_of(found.places)
    for i = 1, #found.places do
      if found.places[i].name == "authorization" then found.in_authorization = true end
    end
  end
  if found.keys then found.keyplaces = places_of(found.keyplaces) end
  if parsed_count > 20000 then parsed, parsed_count = {}, 0 end -- reloads leave texts behind that no route has
  parsed[text], parsed_count = found, parsed_count + 1
  return found
end

-- What is known ----------------------------------------------------------------------------------------------------

-- Claims of credentials that jwt_authn has verified, by the credential's complete text: `Bearer TOKEN`, or what a session
-- cookie holds, which has no space in it, so that the two never meet. It saves jwt_authn from copying the payload again,
-- a third of what the gateway adds to a request; every later request is verified all the same. Two generations, bounded
-- in bytes: what does not come back is forgotten. `keys` are header segments (kid and alg) of which a token was verified:
-- all that is remembered under them is that Envoy has the key.
wardgate_known = wardgate_known or { young = {}, old = {}, bytes = 0, limit = 64 * 1024 * 1024, keys = {}, key_count = 0 }

local known = wardgate_known

local function keep(credential, entry)
  if known.bytes + entry.size > known.limit then
    known.old, known.young, known.bytes = known.young, {}, 0
  end
  known.bytes = known.bytes + entry.size
  known.young[credential] = entry
  return entry
end

local function recall(credential)
  local entry = known.young[credential]
  if entry then return entry end
  entry = known.old[credential]
  return entry and keep(credential, entry)
end

local function remember(credential, entry)
  entry.headers = {}
  local more = entry.access ~= entry.token and entry.access or ""
  entry.size = #credential + #entry.claims + #entry.token + #more + #(entry.id or "") + 1024
  -- each request leaves some kilobytes behind; by default all that is known is looked through when as much of them has come
  -- together, which is often while little is known
  collectgarbage("setpause", known.bytes < 1048576 and not next(known.old) and 400 or 200)
  return keep(credential, entry)
end

local function learn(segment)
  if known.keys[segment] then return end
  if known.key_count >= 1000 then known.keys, known.key_count = {}, 0 end
  known.keys[segment], known.key_count = true, known.key_count + 1
end

-- Tells the upstream who calls, in the headers of one route. It is before RBAC: a request that is denied gets nowhere.
local function introduce(headers, entry, route)
  local set = route.headers
  if set ~= "" then
    local result = entry.headers[set]
    if not result then
      result = identity(set, entry)
      entry.headers[set] = result
      for i = 1, #result do known.bytes = known.bytes + #result[i] + 32 end
    end
    for i = 1, #result, 2 do
      headers:add(result[i], result[i + 1])
    end
  end
  if entry.session then
    headers:add("x-wardgate-session", entry.session)
    -- becomes Authorization on the way out (routes.py): here it could be taken for a credential of its own
    if route.forward and entry.access then headers:add("x-wardgate-forward", "Bearer " .. entry.access) end
  end
end

-- Its route is found again, as headers are now: among those that say so alike (compiler.py, `again`). A client's own are gone by now.
local function again(handle, headers, route)
  if not route.again then return end
  headers:add("x-wardgate-again", route.again)
  handle:clearRouteCache()
end

-- The guard --------------------------------------------------------------------------------------------------------

local function metadata(handle)
  return handle:streamInfo():dynamicMetadata()
end

local function refuse(handle, status, reason)
  metadata(handle):set("wardgate", "why", reason)
  handle:respond({ [":status"] = status }, "")
end

-- Whether a path needs no second look: nothing in it before its query could be unsafe, and it has no capitals. (A pattern
-- costs five times as much: LuaJIT compiles this, not that.)
local ODD = {}
for code = 0, 255 do ODD[code] = find(char(code), "[%%%u;\\#%c .]") ~= nil end

local function is_plain(path)
  local before = 0
  for i = 1, #path do
    local code = byte(path, i)
    if code == 63 then return true end
    if ODD[code] or (code == 47 and before == 47) then return false end
    before = code
  end
  return true
end

local function path_is_safe(handle, headers)
  local path = headers:get(":path")
  if is_plain(path) then return true end
  local query = find(path, "?", 1, true)
  if query then path = sub(path, 1, query - 1) end
  if unsafe(path) then
    refuse(handle, "400", "path-unsafe")
    return false
  end
  if find(path, "%u") then headers:replace("x-wardgate-folded", lower(path)) end
  return true
end

-- The number of a piece of a session that is kept in cookies: NAME-1, NAME-2, ...
local function number_of(name, route)
  return sub(name, 1, #route.cookie) == route.cookie and tonumber(match(name, "^%-(%d)$", #route.cookie + 1)) or nil
end

-- Those of logins on their way, and of logins that were completed lately.
local function of_login(name)
  return find(name, "^wardgate%-login") or find(name, "^__Host%-wardgate%-login")
end

-- Those of sessions that are not this route's: of other clients, where each has its own.
local function of_others(name, own)
  if sub(name, 1, 7) == "__Host-" then name = sub(name, 8) end
  return sub(name, 1, #own) == own
end

-- Takes our cookies, which never reach the upstream, out of a Cookie header: the session's value, what is left, how many
-- sessions there were, and the cookies of logins, nil without one. Names stand at the start or after `;` and blanks,
-- nothing else is trimmed: another reader's trimming is not ours.
local function cut(cookie, route)
  local value, pieces, kept, count, logins = nil, {}, {}, 0, nil
  for part in gmatch(cookie, "[^;]+") do
    local from = find(part, "[^ \t]")
    local equals = from and find(part, "=", from, true)
    local name = equals and sub(part, from, equals - 1)
    if name == route.cookie then
      value, count = match(part, "^(.-)[ \t]*$", equals + 1), count + 1
    elseif name and of_login(name) then
      logins = (logins and logins .. "; " or "") .. sub(part, from)
    elseif name and number_of(name, route) then
      local number = route.chunks and number_of(name, route)
      if number then
        if pieces[number] then count = 2 end
        pieces[number] = match(part, "^(.-)[ \t]*$", equals + 1)
      end
    elseif from and not (name and route.own and of_others(name, route.own)) then
      kept[#kept + 1] = sub(part, from)
    end
  end
  for i = 1, 9 do
    if not value or not pieces[i] then break end -- a gap ends it: what is there then does not unseal
    value = value .. pieces[i]
  end
  return value, concat(kept, "; "), count, logins
end

-- All lines of Cookie as one, joined as HTTP/2 does (RFC 9113, 8.2.3). Envoy joins those of HTTP/1.1 with a comma, which
-- a value may hold, too: a session in the second line would be part of the first line's last value (run on 1.40).
local function cookie_of(headers)
  local cookie = headers:get("cookie")
  if not cookie or not find(cookie, ",", 1, true) then return cookie end
  local lines = {}
  for i = 1, headers:getNumValues("cookie") do lines[i] = headers:getAtIndex("cookie", i - 1) end
  return concat(lines, "; ")
end

local function without_ours(headers, cookie, rest)
  if rest == cookie then return end
  headers:remove("cookie")
  if rest ~= "" then headers:add("cookie", rest) end
end

-- Every token in the place where a route has them.
local function tokens_at(headers, place, tokens)
  if place.carrier == "header" then
    for i = 1, headers:getNumValues(place.name) do
      local value = headers:getAtIndex(place.name, i - 1)
      if sub(value, 1, #place.prefix) == place.prefix then tokens[#tokens + 1] = sub(value, #place.prefix + 1) end
    end
  elseif place.carrier == "cookie" then
    for part in gmatch(cookie_of(headers) or "", "[^;]+") do
      local name, value = match(part, "^[ \t]*([^=]*)=(.-)[ \t]*$")
      if name == place.name then tokens[#tokens + 1] = value end
    end
  else
    local query = match(headers:get(":path"), "%?(.*)$")
    for name, value in gmatch(query or "", "([^&=]+)=([^&]*)") do
      if name == place.name then tokens[#tokens + 1] = value end
    end
  end
end

-- A name or a value of a query, as forms write them.
local function of_form(text)
  return unplain((gsub(text, "+", " ")))
end

-- Takes credentials out of all places where they are looked for.
local function without_places(headers, places)
  for i = 1, #places do
    local carrier, name = places[i].carrier, places[i].name
    if carrier == "header" then
      headers:remove(name)
    elseif carrier == "param" then
      local path, query = match(headers:get(":path"), "^([^?]*)%?(.*)$")
      local kept, before = {}, 0
      for part in gmatch(query or "", "[^&]+") do
        before = before + 1
        if of_form(match(part, "^[^=]*")) ~= name then kept[#kept + 1] = part end
      end
      if #kept < before then headers:replace(":path", #kept > 0 and path .. "?" .. concat(kept, "&") or path) end
    else
      local cookie, kept = cookie_of(headers), {}
      for part in gmatch(cookie or "", "[^;]+") do
        if match(part, "^[ \t]*([^=]*)") ~= name then kept[#kept + 1] = part end
      end
      if cookie then without_ours(headers, cookie, concat(kept, ";")) end
    end
  end
end

-- Where tokens are elsewhere: the one token as if it stood in Authorization, where all that follows looks for it. What a
-- client has there is taken away if that is none of the places. Two tokens are `,`, which is none. `hide`: the upstream does not see
-- it in those places.
local function placed(headers, route)
  local tokens, place = {}, 0
  for i = 1, #route.places do
    local before = #tokens
    tokens_at(headers, route.places[i], tokens)
    if #tokens > before then place = i end
  end
  if headers:get("authorization") and not (route.in_authorization and #tokens == 0) then headers:remove("authorization") end
  if #tokens == 0 then return headers:get("authorization") end
  if route.hide then without_places(headers, route.places) end
  if route.mark then headers:add("x-wardgate-place", format("%d", place)) end
  local value = #tokens == 1 and "Bearer " .. tokens[1] or ","
  headers:add("authorization", value)
  return value
end

-- Keys of clients --------------------------------------------------------------------------------------------------

-- SHA-256 (FIPS 180-4) of a key: what is compared, so that no key itself is in any configuration.
local band, bxor, bnot, rshift, ror, tobit = bit.band, bit.bxor, bit.bnot, bit.rshift, bit.ror, bit.tobit

-- Its constants: the first 32 bits of the fractional part of square and cube roots of the first primes.
local FIRST, ROUNDS = {}, {}
local candidate = 2
while #ROUNDS < 64 do
  local prime = true
  for divisor = 2, candidate - 1 do prime = prime and candidate % divisor > 0 end
  if prime then
    if #FIRST < 8 then FIRST[#FIRST + 1] = tobit(floor(candidate ^ (1 / 2) % 1 * 4294967296)) end
    ROUNDS[#ROUNDS + 1] = tobit(floor(candidate ^ (1 / 3) % 1 * 4294967296))
  end
  candidate = candidate + 1
end

local function sha256(text)
  local size = #text
  text = text .. "\128" .. rep("\0", (55 - size) % 64) .. "\0\0\0\0"
    .. char(band(rshift(size, 21), 255), band(rshift(size, 13), 255), band(rshift(size, 5), 255), band(size * 8, 255))
  local state, w = {}, {}
  for i = 1, 8 do state[i] = FIRST[i] end
  for start = 1, #text, 64 do
    for i = 1, 16 do
      local b1, b2, b3, b4 = byte(text, start + i * 4 - 4, start + i * 4 - 1)
      w[i] = tobit(b1 * 16777216 + b2 * 65536 + b3 * 256 + b4)
    end
    for i = 17, 64 do
      local x, y = w[i - 15], w[i - 2]
      local s = bxor(ror(x, 7), ror(x, 18), rshift(x, 3))
      local t = bxor(ror(y, 17), ror(y, 19), rshift(y, 10))
      w[i] = tobit(w[i - 16] + s + w[i - 7] + t)
    end
    local a, b, c, d, e, f, g, h = state[1], state[2], state[3], state[4], state[5], state[6], state[7], state[8]
    for i = 1, 64 do
      local one = tobit(h + bxor(ror(e, 6), ror(e, 11), ror(e, 25)) + bxor(band(e, f), band(bnot(e), g)) + ROUNDS[i] + w[i])
      local two = tobit(bxor(ror(a, 2), ror(a, 13), ror(a, 22)) + bxor(band(a, b), band(a, c), band(b, c)))
      h, g, f, e, d, c, b, a = g, f, e, tobit(d + one), c, b, a, tobit(one + two)
    end
    for i, value in ipairs({ a, b, c, d, e, f, g, h }) do state[i] = tobit(state[i] + value) end
  end
  local out = {}
  for i = 1, 8 do out[i] = bit.tohex(state[i]) end
  return concat(out)
end

local MOST_KEY = 4096 -- of a longer one nobody is the client (MOST_KEY in decision/gates.py)

-- The clients of one set of keys, by digest; the set is told once, beside its name. `seen` are keys that were found in it.
local keysets, keyset_count = {}, 0

local function keyset(handle, name)
  local found = keysets[name]
  if found then return found end
  found = { clients = {}, seen = {} }
  for digest, client in gmatch(handle:filterContext():get("keys"), "(%x+) ([^\n]*)") do found.clients[digest] = client end
  if keyset_count >= 1000 then keysets, keyset_count = {}, 0 end -- reloads leave sets behind that no route has
  keysets[name], keyset_count = found, keyset_count + 1
  return found
end

local function client_of(set, key)
  local client = set.seen[key]
  if client or #key > MOST_KEY then return client end
  client = set.clients[sha256(key)]
  if client then set.seen[key] = client end
  return client
end

-- The first key in the places of a route; an empty one is none.
local function key_in(headers, route)
  for i = 1, #route.keyplaces do
    local place, value = route.keyplaces[i], nil
    local name, prefix = place.name, place.prefix
    if place.carrier == "header" then
      -- two lines of Authorization are one with a comma, which is nobody's key; of other headers the first counts
      if name == "authorization" then value = headers:get(name) else value = headers:getAtIndex(name, 0) end
      if value and sub(value, 1, #prefix) == prefix then value = sub(value, #prefix + 1) end
    elseif place.carrier == "param" then
      for part in gmatch(match(headers:get(":path"), "%?(.*)$") or "", "[^&]+") do
        local key, text = match(part, "^([^=]*)=?(.*)$")
        if of_form(key) == name then value = of_form(text) break end
      end
    else
      for part in gmatch(cookie_of(headers) or "", "[^;]+") do
        local key, text = match(part, "^[ \t]*([^=]*)=(.-)[ \t]*$")
        if key == name then value = match(text, '^"(.*)"$') or text break end
      end
    end
    if value and value ~= "" then return value end
  end
  return nil
end

-- Browsers send no credentials with a preflight, and it goes no further than the filter that answers it.
local function is_preflight(headers)
  return headers:get(":method") == "OPTIONS" and headers:get("origin") and headers:get("access-control-request-method")
end

-- Whose key a request brings leaves a mark, without which RBAC denies where one is required; false when the request was
-- answered.
local function by_key(handle, headers, route)
  local key = key_in(headers, route)
  local client = key and client_of(keyset(handle, route.keys), key)
  local reason
  if client then
    headers:add("x-wardgate-key-of", client)
  elseif key then
    reason = route.keymode ~= "permissive" and "api-key-unknown"
  else
    reason = not route.keymode and not is_preflight(headers) and "api-key-missing"
  end
  if reason then
    refuse(handle, "401", reason)
    return false
  end
  if key and route.keystrip then without_places(headers, route.keyplaces) end
  return true
end

-- For the filter that asks the service: how (`resolve` sessions and logins, `introspect` tokens, `renew` and `key` what
-- may go on without an answer), the kind of question, and the very text that it is about.
local function ask(headers, which, kind, credential, route)
  headers:add("x-wardgate-kind", kind)
  headers:add("x-wardgate-asked", credential)
  if route.login then headers:add("x-wardgate-login", route.login) end
  if route.client then headers:add("x-wardgate-client", route.client) end
  headers:add("x-wardgate-mode", route.mode or "required")
  headers:add("x-wardgate-ask", which)
end

-- Only a browser that shows the answer to a person is sent to the login (Fetch metadata; old browsers have none).
local function navigates(headers)
  if headers:get("x-wardgate-decides") == "as-nginx" then return false end -- it takes no redirect for an answer
  local method = headers:get(":method")
  if method ~= "GET" and method ~= "HEAD" then return false end
  local mode = headers:get("sec-fetch-mode")
  if mode then return mode == "navigate" and headers:get("sec-fetch-dest") == "document" end
  local accept = headers:get("accept")
  return accept ~= nil and find(accept, "text/html", 1, true) ~= nil
end

-- A page of another site can open a WebSocket with our cookie, and no CORS keeps it from reading: its Origin must be
-- this very host, or one that CORS allows.
local function origin_allowed(headers, route)
  local origin = headers:get("origin")
  if not origin then return false end
  if route.origins[origin] then return true end
  return origin == (headers:get("x-forwarded-proto") or "") .. "://" .. headers:get(":authority")
end

local SAFE = { GET = true, HEAD = true, OPTIONS = true }

-- Whether a page of another site asks for a change, as far as browsers tell (policy/gates.py, CrossSite.by_metadata).
local function crosses_sites(headers, route)
  if not route.pages or SAFE[headers:get(":method")] then return false end
  local origin, site = headers:get("origin"), headers:get("sec-fetch-site")
  if origin == "null" then origin = nil end
  if origin and route.pages[origin] then return false end
  if site then return site ~= "same-origin" and site ~= "none" end
  return origin ~= nil and origin ~= (headers:get("x-forwarded-proto") or "") .. "://" .. headers:get(":authority")
end

-- What is known of a credential goes along: the claims as text, and the token that jwt_authn verifies again.
local function bring(headers, entry, route)
  headers:add("x-wardgate-claims", entry.claims)
  headers:add(entry.attested and "x-wardgate-ticket" or "x-wardgate-bearer", entry.token)
  introduce(headers, entry, route)
end

-- An attested token while it holds. In its last sixth one request a second asks for the next: it goes the long way with
-- the old token, which the answer replaces; when no answer comes, nothing has changed.
local function attested(handle, headers, entry, kind, credential, route)
  local time = now()
  if time >= entry.ends then return false end
  if MODE == "permissive" or route.payload or (time >= entry.renew and time > (entry.asked or 0)) then
    headers:add("x-wardgate-attested", entry.token)
    if time >= entry.renew and time > (entry.asked or 0) then
      entry.asked = time
      ask(headers, "renew", kind, credential, route)
    else
      headers:add("x-wardgate-asked", credential)
    end
  else
    bring(headers, entry, route)
  end
  return true
end

-- Who calls by session; false when the request was answered.
local function by_session(handle, headers, id, route)
  -- a proxy that asks about an upgrade does not send Upgrade itself
  local upgrade = headers:get("upgrade") or (headers:get("x-wardgate-decides") and headers:get("sec-websocket-key"))
  if upgrade and not origin_allowed(headers, route) then
    refuse(handle, "403", "origin")
    return false
  end
  local limit = route.chunks and 16384 or 64
  if #id > limit or find(id, "[^%w_-]") then id = "malformed" end
  local entry = recall(id)
  local page = navigates(headers)
  local passed = entry and attested(handle, headers, entry, "session", id, route)
  if not passed then ask(headers, MODE == "permissive" and "renew" or "resolve", "session", id, route) end
  -- what the service answers may bring the session's own cookies anew, which no cache may give to others
  if page or (route.chunks and headers:get("x-wardgate-ask")) then
    metadata(handle):set("wardgate", "cache", "no-store")
  end
  return true, passed and entry.subject or "-"
end

-- First sight of a bearer token that is not the guard's to refuse.
local function ask_about(handle, headers, value, segment, route)
  if route.bearer == "checked" or not segment then
    local kind = route.introspect and "checked" or "token"
    ask(headers, MODE == "permissive" and "renew" or "introspect", kind, sub(value, 8), route)
  elseif not known.keys[segment] then
    ask(headers, "key", "key", sub(value, 8), route)
  end
end

-- The service vouched for it while Envoy did not have the issuer's key yet. In its last tenth it is looked at anew: by
-- then Envoy has the key, or it is withdrawn.
local function vouched_for(entry, route)
  return entry.attested and route.bearer ~= "checked" and sub(entry.via, 1, 7) == "bearer:" and now() >= entry.renew
end

-- Who calls by bearer token; false when the request was answered.
local function by_bearer(handle, headers, value, route)
  local entry = recall(value)
  if entry and vouched_for(entry, route) then entry = nil end
  if entry and entry.attested and (route.bearer ~= "checked" or route.vias[entry.via]) then
    local kind = route.introspect and "checked" or "token"
    if attested(handle, headers, entry, kind, sub(value, 8), route) then return true, entry.subject end
  elseif entry and not entry.attested and MODE == "required" and route.bearer ~= "checked" then
    -- a permissive route lets a failed credential pass: there, claims count only from this very request's verification
    bring(headers, entry, route)
    return true, entry.subject
  end
  local reason, segment, kid = refusal(value)
  if kid then metadata(handle):set("wardgate", "kid", kid) end -- for whoever is told that the key is unknown
  if reason and (route.bearer == "opaque" or route.bearer == "checked") and opaque(value) then reason = nil end
  if reason and MODE == "permissive" then return true, "-" end
  if reason then
    -- Envoy joins two Authorization lines with a comma, and no token holds one
    if find(value, ",", 1, true) then
      refuse(handle, "400", "credential-several")
    else
      refuse(handle, "401", reason)
    end
    return false
  end
  if MODE == "permissive" and segment then headers:add("x-wardgate-credential", sub(value, 8)) end
  ask_about(handle, headers, value, segment, route)
  return true, "-"
end

-- The one credential of a request; false when the request was answered.
local function caller(handle, headers, route)
  local value, id
  if route.places then value = placed(headers, route) else value = headers:get("authorization") end
  if route.cookie then
    local cookie = cookie_of(headers)
    if cookie then
      local rest, count, logins
      id, rest, count, logins = cut(cookie, route)
      without_ours(headers, cookie, rest)
      -- whoever begins the next login has to see how those before it went
      if logins and route.login then headers:add("x-wardgate-logins", logins) end
      if not route.sessions then id, count = nil, 0 end
      if count > 1 then
        refuse(handle, "400", "credential-several")
        return false
      end
    end
  end
  if id and value and route.bearer then
    refuse(handle, "400", "credential-several")
    return false
  end
  if value and not route.bearer then
    if id then
      headers:remove("authorization") -- not looked at here, so nobody behind us may take it for looked at
    elseif MODE == "permissive" then
      return true, "-"
    else
      refuse(handle, "401", "credential-kind")
      return false
    end
  end
  if id then return by_session(handle, headers, id, route) end
  if value then return by_bearer(handle, headers, value, route) end
  if route.login and navigates(headers) then ask(headers, "resolve", "login", "-", route) end
  return true, "-"
end

local function guard(handle, text)
  local headers = handle:headers()
  if not path_is_safe(handle, headers) then return end
  local who, route = "-", terms(text)
  if crosses_sites(headers, route) then
    refuse(handle, "403", "cross-site")
    return false
  end
  if route.keys and not by_key(handle, headers, route) then return end
  if MODE ~= "open" then
    local passed
    passed, who = caller(handle, headers, route)
    if not passed then return end
  elseif route.cookie then
    local cookie = cookie_of(headers)
    if cookie then
      local _, rest = cut(cookie, route)
      without_ours(headers, cookie, rest)
    end
  end
  if route.log and who ~= "-" then metadata(handle):set("wardgate", "subject", who) end
  if route.again and headers:get("x-wardgate-claims") then again(handle, headers, route) end
  headers:add("x-wardgate-guarded", "1")
end

-- The claims filter ------------------------------------------------------------------------------------------------

local function token_of(beside, name)
  local value = beside[name]
  if value == "-" then return nil end -- the service says so when a token has expired and its issuer is away
  return value
end

-- What the service answered beside an attested token, or, when it was not asked or did not answer, what is known from
-- before. Not in headers: tokens of tens of kilobytes do not fit into what a request may have of them.
local function beside_of(left, credential)
  local answered = left:get("wardgate.ask") or left:get("envoy.filters.http.ext_authz")
  if answered and answered["x-wardgate-access"] then return answered end
  local before = recall(credential)
  return { ["x-wardgate-access"] = before and before.access, ["x-wardgate-id-token"] = before and before.id }
end

-- The entry of a token that the service attests, under the credential that it was asked about.
local function attested_entry(headers, left, payload)
  local length = payload.exp - payload.iat
  local asked = headers:get("x-wardgate-asked")
  local credential = payload.sid and asked or "Bearer " .. asked -- a session's, or a bearer token
  local beside = payload.sid and beside_of(left, credential) or { ["x-wardgate-access"] = asked }
  local entry = {
    attested = true,
    claims = attested_text(payload),
    token = headers:get("x-wardgate-attested"),
    subject = type(payload.sub) == "string" and payload.sub or "-",
    session = payload.sid,
    via = plain(payload.via),
    ends = payload.exp, -- jwt_authn gives it one second more: a request on its way has that
    renew = payload.exp - max(2, floor(length / 6)),
    access = token_of(beside, "x-wardgate-access"),
    id = token_of(beside, "x-wardgate-id-token"),
  }
  return credential, entry
end

local function verified_entry(headers, payload)
  local credential = headers:get("authorization")
  local segment = match(credential, "^Bearer ([%w_-]+)%.")
  if segment then learn(segment) end
  local token = sub(credential, 8)
  local subject = type(payload.sub) == "string" and payload.sub or "-"
  return credential, { claims = text_of(payload), token = token, access = token, subject = subject }
end

-- First sight: the payload that jwt_authn has verified in this request becomes text.
local function tell(handle, text)
  local headers, left = handle:headers(), metadata(handle)
  if not headers:get("x-wardgate-guarded") then return end -- the mark is the guard's to give
  local verified = left:get("envoy.filters.http.jwt_authn")
  local credential, entry
  local route = terms(text)
  if not verified then return again(handle, headers, route) end -- anonymous, on a route that lets it pass
  if verified["attested"] then
    -- a permissive route lets who came otherwise pass as nobody
    if route.mode == "permissive" and not route.vias[plain(verified["attested"].via)] then
      return again(handle, headers, route)
    end
    credential, entry = attested_entry(headers, left, verified["attested"])
  elseif verified["jwt"] then
    credential, entry = verified_entry(headers, verified["jwt"])
  end
  if not entry then return end -- jwt_authn says nothing else
  headers:add("x-wardgate-claims", entry.claims)
  if route.log and entry.subject ~= "-" then left:set("wardgate", "subject", entry.subject) end
  introduce(headers, remember(credential, entry), route)
  again(handle, headers, route)
end

function envoy_on_request(handle)
  local context = handle:filterContext()
  local text = context:get("put")
  if text then
    tell(handle, text)
  else
    guard(handle, context:get("set"))
  end
end
