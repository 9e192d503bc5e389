-- What Envoy cannot do by itself, in one text that stands in the chain twice (Envoy lets two Lua filters share their
-- tables only when they have the same text and the same `shared_vm_id`: run on 1.40):
--
--   guard   the first filter that looks at a request. It refuses what a second reader could read differently, and holds
--           the credential to one spelling. It grants nothing: what it lets through is still verified and judged.
--   claims  after jwt_authn, before RBAC. It writes what jwt_authn verified as text into one header that RBAC matches
--           (claims.py says how), and the identity headers that the upstream is told. It decides nothing: without the
--           header of claims RBAC denies.
--
-- For a credential that is known the guard does it all, and Envoy skips the claims filter (a matcher on the header of
-- claims). Each filter has a context from the route: `set` (the guard's) or `put` (the claims filter's) is the list of
-- identity headers of the route, one a line: name, key in the claims, separator, divided by tabs. (A context of nested
-- lists instead costs each request 10 microseconds: Envoy copies it.)
--
-- Lua fails open: after an error in here the request would go on. So the last act of every way through the guard is the
-- mark `guarded`, and RBAC denies every request that lacks it, or lacks claims where a credential is required.
--
-- The text never changes with policy (MODE is one of three constants), so a reload keeps what is known.

local MODE = "@MODE@" -- required | permissive | open

local find, sub, byte, lower, gsub, match = string.find, string.sub, string.byte, string.lower, string.gsub, string.match
local char, concat, floor, format, gmatch = string.char, table.concat, math.floor, string.format, string.gmatch

-- Paths ------------------------------------------------------------------------------------------------------------

-- What no path holds after normalization: see UNSAFE_PATH in policy.py, which says the same in one regex.
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

-- The reason to refuse a value of Authorization, or nil. Called once per token and worker.
local function refusal(value)
  local header, payload, signature = match(value, "^Bearer ([%w_-]+)%.([%w_-]+)%.([%w_-]+)$")
  if not header then return "credential-malformed" end
  if not canonical(signature) then return "token-malformed" end
  local text = decode(header)
  local object = text and json(text)
  if not object then return "token-malformed" end
  local reason = header_reason(object)
  if reason then return reason end
  text = decode(payload)
  object = text and json(text)
  if not object then return "token-malformed" end
  return payload_reason(object)
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

-- The headers of one set for one credential: {name, value, name, value, ...}. A header without a key is the token.
local function identity(set, claims, credential)
  local result = {}
  for name, key, separator in gmatch(set, "([^\t\n]+)\t([^\t\n]*)\t([^\t\n]*)") do
    local value
    if key == "" then
      value = sub(credential, 8)
    else
      value = value_of(claims, key, unplain(separator))
    end
    if value and value ~= "" then
      result[#result + 1] = name
      result[#result + 1] = value
    end
  end
  return result
end

-- What is known ----------------------------------------------------------------------------------------------------

-- Claims of credentials that jwt_authn has verified, by the credential's complete text. It saves jwt_authn from copying
-- the payload again, a third of what the gateway adds to a request; every later request is verified all the same. Two
-- generations, bounded in bytes: what does not come back is forgotten.
wardgate_known = wardgate_known or { young = {}, old = {}, bytes = 0, limit = 16 * 1024 * 1024 }

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

local function remember(credential, claims, subject)
  local entry = { claims = claims, token = sub(credential, 8), subject = subject, headers = {} }
  entry.size = 2 * #credential + 2 * #claims + 1024
  return keep(credential, entry)
end

-- Tells the upstream who calls, in the headers of one set. It is before RBAC: a request that is denied gets nowhere.
local function introduce(headers, entry, set, credential)
  local result = entry.headers[set]
  if not result then
    result = identity(set, entry.claims, credential)
    entry.headers[set] = result
    for i = 1, #result do known.bytes = known.bytes + #result[i] + 32 end
  end
  for i = 1, #result, 2 do
    headers:add(result[i], result[i + 1])
  end
end

-- The guard --------------------------------------------------------------------------------------------------------

local function metadata(handle)
  return handle:streamInfo():dynamicMetadata()
end

local function refuse(handle, status, reason)
  metadata(handle):set("wardgate", "why", reason)
  handle:respond({ [":status"] = status }, "")
end

local function path_is_safe(handle, headers)
  local path = headers:get(":path")
  if not find(path, "[%%%u;\\#%c .]") and not find(path, "//", 1, true) then
    return true
  end
  local query = find(path, "?", 1, true)
  if query then path = sub(path, 1, query - 1) end
  if unsafe(path) then
    refuse(handle, "400", "path-unsafe")
    return false
  end
  if find(path, "%u") then headers:replace("x-wardgate-folded", lower(path)) end
  return true
end

-- Refuses a credential that is not well formed (false), or hands it on. Nothing is remembered here.
local function take(handle, headers, value)
  local reason = refusal(value)
  if reason and MODE == "permissive" then return true end
  if reason then
    -- Envoy joins two Authorization lines with a comma, and no token holds one
    if find(value, ",", 1, true) then
      refuse(handle, "400", "credential-several")
    else
      refuse(handle, "401", reason)
    end
    return false
  end
  if MODE == "permissive" then headers:add("x-wardgate-credential", sub(value, 8)) end
  return true
end

local function guard(handle, set)
  local headers = handle:headers()
  if not path_is_safe(handle, headers) then return end
  local who = "-"
  if MODE ~= "open" then
    local value = headers:get("authorization")
    -- a permissive route lets a failed credential pass: there, claims count only from this very request's verification
    local entry = MODE == "required" and value and recall(value)
    if entry then
      headers:add("x-wardgate-claims", entry.claims)
      headers:add("x-wardgate-bearer", entry.token)
      if set then introduce(headers, entry, set, value) end
      who = entry.subject
    elseif value and not take(handle, headers, value) then
      return
    end
  end
  metadata(handle):set("wardgate", "guarded", who)
end

-- The claims filter ------------------------------------------------------------------------------------------------

-- First sight: the payload that jwt_authn has verified in this request becomes text; nil where nothing was verified.
local function written(handle, headers)
  local left = metadata(handle)
  local passed = left:get("wardgate")
  if not (passed and passed["guarded"]) then return nil end -- the mark is the guard's to give: here it only gets a name
  local verified = left:get("envoy.filters.http.jwt_authn")
  local payload = verified and verified["jwt"]
  if not payload then return nil end -- anonymous, on a route that lets it pass
  local claims, subject = text_of(payload), "-"
  if type(payload.sub) == "string" then subject = payload.sub end
  headers:add("x-wardgate-claims", claims)
  left:set("wardgate", "guarded", subject)
  return claims, subject
end

local function tell(handle, set)
  local headers = handle:headers()
  local credential = headers:get("authorization")
  if not credential then return end
  local claims, subject = written(handle, headers)
  if claims then introduce(headers, remember(credential, claims, subject), set, credential) end
end

function envoy_on_request(handle)
  local context = handle:filterContext()
  local set = context:get("put")
  if set then
    tell(handle, set)
  else
    guard(handle, context:get("set"))
  end
end
