-- wrk's script: posts small events with unique dedup ids, the organizations in turn, and prints one line of JSON.
-- KEYS is a file with one API key a line; without it the requests carry none (the bare server ignores them). RATE is
-- requests a second over all connections, 0 for as fast as the answers come.

local counter, thread_id, keys, path = 0, 0, {}, nil
local threads = 0
local payload = '{"order":4711,"customer":"c_83k2","total":"129.90","currency":"EUR","items":[{"sku":"a-1","qty":2},{"sku":"b-7","qty":1}],"note":"' .. string.rep("x", 70) .. '"}'

function setup(thread)
  thread:set("thread_id", threads)
  threads = threads + 1
end

function init(args)
  path = args[1]
  local seed = args[2]
  prefix = seed .. "-" .. thread_id .. "-"
  if args[3] and args[3] ~= "" then
    for line in io.lines(args[3]) do keys[#keys + 1] = line end
  end
  wrk.method = "POST"
  local rate = tonumber(args[4] or "0")
  if rate > 0 then delay = pace(rate) end
end

-- Each request has its own moment; a late one does not move those after it.
function pace(rate)
  local ffi = require("ffi")
  ffi.cdef("typedef struct { long s; long ns; } moment; int clock_gettime(int, moment *);")
  local moment = ffi.new("moment")
  local function now()
    ffi.C.clock_gettime(1, moment)
    return tonumber(moment.s) * 1000 + tonumber(moment.ns) / 1e6
  end
  local sent, start = 0, nil
  return function()
    start = start or now()
    sent = sent + 1
    return math.max(0, math.floor(start + sent * 1000 / rate - now()))
  end
end

function request()
  counter = counter + 1
  -- Spread over the alphabet: dedup ids in the wild are random, and a rising one would be kinder to an index.
  local id = string.format("%08x-%s%d", (counter * 2654435761) % 4294967296, prefix, counter)
  local body = '{"type":"order.created","dedup_id":"' .. id .. '","payload":' .. payload .. '}'
  local headers = { ["Content-Type"] = "application/json" }
  if #keys > 0 then headers["X-API-Key"] = keys[counter % #keys + 1] end
  return wrk.format("POST", path, headers, body)
end

-- Latencies at rising percentiles, finer towards the end: rounds are put together from them.
local function percentiles(latency)
  local parts = {}
  local function add(p) parts[#parts + 1] = string.format("[%.2f,%d]", p, latency:percentile(p)) end
  for p = 1, 98 do add(p) end
  for p = 990, 998 do add(p / 10) end
  for p = 9990, 9999 do add(p / 100) end
  return "[" .. table.concat(parts, ",") .. "]"
end

function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\nRESULT {"requests":%d,"duration_us":%d,"status_errors":%d,"socket_errors":%d,"max_us":%d,"percentiles":%s}\n',
    summary.requests, summary.duration, e.status, e.connect + e.read + e.write + e.timeout,
    latency.max, percentiles(latency)))
end
