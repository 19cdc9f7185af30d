// Sizes as people read them, in powers of ten, as disks are sold.

const UNITS = ["kB", "MB", "GB", "TB"] as const;

/** `512 bytes`, `4.2 MB`, `118 GB`. */
export function formatBytes(bytes: number): string {
  if (bytes < 1_000) return `${bytes} bytes`;
  let value = bytes;
  let unit = -1;
  // 999.5 would be written as 1000 of its unit.
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1_000;
    unit++;
  }
  return `${value >= 9.95 ? Math.round(value) : value.toFixed(1)} ${UNITS[unit]}`;
}
