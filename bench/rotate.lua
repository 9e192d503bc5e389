-- wrk: each request carries the next credential of a file, one a line, in a header after a prefix.
--   wrk -s rotate.lua URL -- FILE HEADER PREFIX
local requests, at = {}, 0

function init(args)
  for credential in io.lines(args[1]) do
    wrk.headers[args[2]] = args[3] .. credential
    requests[#requests + 1] = wrk.format("GET")
  end
end

function request()
  at = at % #requests + 1
  return requests[at]
end
