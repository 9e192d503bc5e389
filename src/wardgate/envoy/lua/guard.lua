-- The guard: the first filter that looks at a request. It refuses what a second reader could read differently,
-- and holds the credential to one spelling. It grants nothing: whatever it lets through is still verified by
-- jwt_authn and judged by RBAC.
--
-- Lua fails open: after an error in here the request would go on. So the last act of every way through is the mark
-- `guarded`, and RBAC denies every request that lacks it.
--
-- The text never changes with policy (MODE is one of three constants), so a reload keeps the table warm.

local MODE = "@MODE@" -- required | permissive | open

local find, sub, byte, lower, gsub, match = string.find, string.sub, string.byte, string.lower, string.gsub, string.match
local char, concat, floor = string.char, table.concat, math.floor

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
  local plain = find(text, '["\\%c]', from)
  if not plain then return nil end
  if byte(text, plain) == 34 then return sub(text, from, plain - 1), plain + 1, false end
  local parts = {}
  while true do
    local stop = find(text, '["\\%c]', from)
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

-- Spellings that passed, by the end of the signature and the length of the whole: two generations of at most 8192,
-- so the table is bounded and a flood only costs the checks again. A hit skips checks that the same token passed;
-- another token cannot have it, since jwt_authn verifies all of it.
local young, old, size = {}, {}, 0

local function known(value)
  if sub(value, 1, 7) ~= "Bearer " then return false end
  local key = sub(value, -64)
  local length = young[key]
  if length then return length == #value end
  if old[key] == #value then
    young[key] = #value
    return true
  end
  return false
end

local function remember(value)
  if size >= 8192 then
    old, young, size = young, {}, 0
  end
  young[sub(value, -64)] = #value
  size = size + 1
end

-- The filter -------------------------------------------------------------------------------------------------------

local function refuse(handle, status, reason)
  handle:streamInfo():dynamicMetadata():set("wardgate", "why", reason)
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

function envoy_on_request(handle)
  local headers = handle:headers()
  if not path_is_safe(handle, headers) then return end
  if MODE ~= "open" then
    local value = headers:get("authorization")
    if value and not known(value) then
      local reason = refusal(value)
      if not reason then
        remember(value)
      elseif MODE == "required" then
        -- Envoy joins two Authorization lines with a comma, and no token holds one
        if find(value, ",", 1, true) then return refuse(handle, "400", "credential-several") end
        return refuse(handle, "401", reason)
      else
        value = nil
      end
    end
    if MODE == "permissive" and value then headers:replace("x-wardgate-credential", sub(value, 8)) end
  end
  handle:streamInfo():dynamicMetadata():set("wardgate", "guarded", true)
end
