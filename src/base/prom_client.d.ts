// The parts of prom-client by their own paths. Its index loads the push gateway and the default metrics as well: 25 ms
// and 3 MB in each thread, for what is never used.

declare module "prom-client/lib/registry.js" {
  import { Registry } from "prom-client";
  export default Registry;
}

declare module "prom-client/lib/counter.js" {
  import { Counter } from "prom-client";
  export default Counter;
}

declare module "prom-client/lib/gauge.js" {
  import { Gauge } from "prom-client";
  export default Gauge;
}

declare module "prom-client/lib/histogram.js" {
  import { Histogram } from "prom-client";
  export default Histogram;
}

declare module "prom-client/lib/cluster.js" {
  import { AggregatorRegistry } from "prom-client";
  export default AggregatorRegistry;
}
