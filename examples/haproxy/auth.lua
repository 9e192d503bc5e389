-- `http-request lua.ask-wardgate`: the request goes on as Wardgate answers, or ends with that answer.
-- `http-response lua.renew-session`: a session that is kept in cookies is renewed by the answer.

local URL = "http://127.0.0.1:8081/auth"
local TIMEOUT_MS = 10000

-- Who calls, and the cookies that are not Wardgate's own: these replace what a client sends.
local TOLD = { "x-user-id", "x-auth-user", "x-auth-email", "x-auth-roles", "cookie" }

-- Of this connection, or of a body that Wardgate does not get.
local NOT_ASKED = {
  ["connection"] = true, ["keep-alive"] = true, ["te"] = true, ["trailer"] = true, ["upgrade"] = true, ["expect"] = true,
  ["transfer-encoding"] = true, ["content-length"] = true, ["content-encoding"] = true,
}
local NOT_ANSWERED = { ["connection"] = true, ["transfer-encoding"] = true, ["content-length"] = true }

-- HAProxy counts the lines of a header from 0 where it gives them, and from 1 where it takes them.
local function lines(values)
  local found, at = {}, 0
  while values[at] do
    found[#found + 1], at = values[at], at + 1
  end
  return found
end

local function question(txn)
  local headers = {}
  for name, values in pairs(txn.http:req_get_headers()) do
    if not NOT_ASKED[name] then headers[name] = lines(values) end
  end
  headers["x-forwarded-method"] = { txn.f:method() }
  headers["x-forwarded-uri"] = { txn.f:pathq() }
  return headers
end

local function refuse(txn, answer)
  local reply = txn:reply({ status = answer.status, body = answer.body })
  for name, values in pairs(answer.headers) do
    if not NOT_ANSWERED[name] then
      for _, value in ipairs(lines(values)) do reply:add_header(name, value) end
    end
  end
  txn:done(reply)
end

core.register_action("ask-wardgate", { "http-req" }, function(txn)
  local answered, answer = pcall(function()
    return core.httpclient():get({ url = URL, headers = question(txn), timeout = TIMEOUT_MS })
  end)
  if not answered or not answer or not answer.status or answer.status < 100 then
    return txn:done(txn:reply({ status = 503 })) -- nobody passes because nobody answers
  end
  if answer.status ~= 200 then return refuse(txn, answer) end
  for _, name in ipairs(TOLD) do
    txn.http:req_del_header(name)
    for _, value in ipairs(lines(answer.headers[name] or {})) do txn.http:req_add_header(name, value) end
  end
  txn:set_priv(lines(answer.headers["set-cookie"] or {}))
end)

core.register_action("renew-session", { "http-res" }, function(txn)
  local renewed = txn:get_priv() or {}
  for _, cookie in ipairs(renewed) do txn.http:res_add_header("set-cookie", cookie) end
  if renewed[1] then txn.http:res_set_header("cache-control", "no-store") end
end)
