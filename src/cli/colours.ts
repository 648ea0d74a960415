import { Chalk } from 'chalk';
import type { Colours } from './look.ts';

/** For a terminal; loaded only where there is one. */
export const colours: Colours = new Chalk({ level: 1 });
