-- Another proxy asks whether a request may pass: this filter puts that request in the place of the question, before
-- anything looks at it. From there on it is judged like any other; its route answers 200 instead of going anywhere.
--
-- It stands only in the chain of trusted proxies (listener.py), so whoever speaks here may say what was asked. The
-- original comes in one of three ways:
--
--   forwarded  X-Forwarded-Method, -Proto, -Host, -Uri                   (Traefik, Caddy, HAProxy)
--   nginx      X-Original-URL, X-Original-Method                         (nginx auth_request, ingress-nginx)
--   path       what stands behind the endpoint's own path, and the question's own method and host (Envoy ext_authz)
--
-- A proxy copies its client's headers into the question, so what it does not set itself may come from anyone: where two
-- ways say something else, or one says it twice, nobody is asked (400). A path is not normalized but refused where that
-- would change it: the proxy serves the path as it came.
--
-- Where the listener proxies as well, Envoy has normalized the question's own path: there the third way is closed.
--
-- Lua fails open, and that is safe here: a question that was not understood stays a request for the endpoint's own path,
-- whose route denies.

local PATH = "@PATH@" -- ends with / (endpoint /auth: "/auth/"; any path: "/"; none: "")
local BEHIND = @BEHIND@ -- whether the original may stand behind the endpoint's path
local OURS = "@OURS@" -- the gateway's own endpoints, where nobody asks: "/oauth"
local OUR_PATHS, BY_HEADERS = {}, {} -- further paths of ours; those where the headers tell a question
for path in string.gmatch("@OUR_PATHS@", "[^ ]+") do OUR_PATHS[path] = true end
for path in string.gmatch("@BY_HEADERS@", "[^ ]+") do BY_HEADERS[path] = true end

local find, sub, byte, char, gmatch, match = string.find, string.sub, string.byte, string.char, string.gmatch, string.match
local lower = string.lower

local function refuse(handle, headers, reason)
  if headers:getNumValues("x-original-url") > 0 then headers:add("x-wardgate-decides", "unclear") end
  handle:streamInfo():dynamicMetadata():set("wardgate", "why", reason)
  handle:respond({ [":status"] = "400" }, "")
end

-- Without a name in it that normalization would write in another way, or that a second reader could read in two. What is
-- unsafe in a normalized path (`UNSAFE` in gate.lua) the guard refuses after this.
local function as_it_is(target)
  if byte(target, 1) ~= 47 or find(target, "[^\33-\126]") or find(target, "#", 1, true) then return false end
  local path = match(target, "^[^?]*")
  if find(path, "[^%w%-%._~!$&'()*+,=:@/%%]") then return false end
  for code in gmatch(path, "%%(.?.?)") do
    if not find(code, "^%x%x$") or find(char(tonumber(code, 16)), "[%w%-%._~]") then return false end
  end
  return true
end

-- What was looked at before need not be looked at again; bounded, as anything may be asked about.
local sound, sound_count = {}, 0

local function is_sound(text, check)
  if sound[text] == check then return true end
  if not check(text) then return false end
  if sound_count >= 2000 then sound, sound_count = {}, 0 end
  if sound[text] == nil then sound_count = sound_count + 1 end
  sound[text] = check
  return true
end

-- The value of a header that may be there once; false when it is there in another way.
local function once(headers, name)
  local value = headers:get(name)
  if value == nil then return nil end
  -- Envoy has joined several by a comma, which one alone may have, too
  if value == "" or (find(value, ",", 1, true) and headers:getNumValues(name) > 1) then return false end
  return value
end

local function is_method(text)
  return text ~= "CONNECT" and not find(text, "[^%w!#$%%&'*+%-.^_`|~]")
end

local function is_host(text)
  return not find(text, "[^%w._~:%[%]%-]")
end

-- What the headers say: method, scheme, host, target, and in which way; nil when they say nothing; false and a reason when
-- they say it badly.
local function by_headers(headers)
  local uri, url = once(headers, "x-forwarded-uri"), once(headers, "x-original-url")
  if uri == nil and url == nil then return nil end
  -- of several X-Forwarded-Host Envoy makes one, with a comma, which no host has
  local method, host = once(headers, "x-forwarded-method"), headers:get("x-forwarded-host")
  local original = once(headers, "x-original-method")
  if uri == false or url == false or method == false or original == false then return false, "original-several" end
  if not url then
    if not method or not host or host == "" then return false, "original-incomplete" end
    if original and original ~= method then return false, "original-contradiction" end
    return method, headers:get("x-forwarded-proto"), host, uri, "as-forwarded"
  end
  local scheme, authority, target = match(url, "^(https?)://([^/?#]+)(.*)$")
  if not scheme or not original then return false, "original-incomplete" end
  if byte(target, 1) ~= 47 then target = "/" .. target end
  if (uri and (uri ~= target or host ~= authority)) or (method and method ~= original) then
    return false, "original-contradiction"
  end
  return original, scheme, authority, target, "as-nginx"
end

local function asked(headers, path)
  local plain = match(path, "^[^?]*")
  local method, scheme, host, target, way = by_headers(headers)
  if BY_HEADERS[plain] then
    if method == nil then return nil end -- a person, who wants to log in
    return method, scheme, host, target, way
  end
  if plain == OURS or OUR_PATHS[plain] or sub(plain, 1, #OURS + 1) == OURS .. "/" then return nil end
  local rest
  if PATH == "" then return nil end
  if PATH == "/" then
    if method == nil then rest = path end
  elseif plain .. "/" ~= PATH then
    if sub(plain, 1, #PATH) ~= PATH then return nil end
    rest = sub(path, #PATH)
    if method ~= nil and rest == "/" then rest = nil end -- an endpoint that was written with a / at its end
  end
  if rest and not BEHIND then return nil end
  if not rest then
    if method == nil then return false, "original-incomplete" end
    return method, scheme, host, target, way
  end
  if method == false or (method and (target ~= rest or method ~= headers:get(":method"))) then
    return false, "original-contradiction"
  end
  return headers:get(":method"), headers:get("x-forwarded-proto"), headers:get(":authority"), rest, way or "as-path"
end

function envoy_on_request(handle)
  local headers = handle:headers()
  local method, scheme, host, target, way = asked(headers, headers:get(":path"))
  if method == nil then return end
  if method == false then return refuse(handle, headers, scheme) end
  if not is_sound(target, as_it_is) then return refuse(handle, headers, "path-unsafe") end
  if not is_sound(method, is_method) or not is_sound(host, is_host) then
    return refuse(handle, headers, "original-incomplete")
  end
  if scheme ~= "http" and scheme ~= "https" then
    scheme = scheme and lower(scheme)
    if scheme ~= "http" and scheme ~= "https" then return refuse(handle, headers, "original-incomplete") end
    headers:replace("x-forwarded-proto", scheme)
  elseif way == "as-nginx" then
    headers:replace("x-forwarded-proto", scheme)
  end
  if method ~= headers:get(":method") then headers:replace(":method", method) end
  if host ~= headers:get(":authority") then headers:replace(":authority", host) end
  headers:replace(":path", target)
  headers:add("x-wardgate-decides", way)
end
