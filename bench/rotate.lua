-- wrk: each request carries the next token of a file, one token a line.
--   wrk -s rotate.lua URL -- TOKENS
local requests, at = {}, 0

function init(args)
  for token in io.lines(args[1]) do
    wrk.headers["Authorization"] = "Bearer " .. token
    requests[#requests + 1] = wrk.format("GET")
  end
end

function request()
  at = at % #requests + 1
  return requests[at]
end
