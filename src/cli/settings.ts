// Settings as flags. They belong to the program and not to one command, so `--data-dir` may stand anywhere on
// the line. Defaults are shown here but filled in by config.ts, after the environment had its say.
import { type Command, Option } from "commander";
import { type LoadedConfig, loadConfig, SETTINGS, type SettingText } from "../config.ts";

/** Adds a flag for each setting, in the groups of the table. */
export function addSettingFlags(program: Command): void {
  for (const one of SETTINGS) program.addOption(flagOf(one));
}

/** Reads all settings from the environment and the flags that `command` was called with. */
export function settingsOf(command: Command, env: Record<string, string | undefined>): LoadedConfig {
  const given: Record<string, unknown> = command.optsWithGlobals();
  const flags: Record<string, string> = {};
  for (const one of SETTINGS) {
    const text = given[flagOf(one).attributeName()];
    // Commander gives `true` for a flag that may stand without a value and does.
    if (text !== undefined) flags[one.flag] = String(text);
  }
  return loadConfig(env, flags);
}

function flagOf(one: SettingText): Option {
  const value = one.bare ? `[${one.value}]` : `<${one.value}>`;
  const initial = one.initial === null ? "" : ` Default: ${one.initial}`;
  return new Option(`--${one.flag} ${value}`, `${one.help}${initial}`).helpGroup(`${one.group}:`);
}
