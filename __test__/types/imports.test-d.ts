import { expectType } from 'tsd';
import pm2, { connect, type ProcessDescription, type StartOptions } from '../..';
import * as all from '../..';

// Programs import the package in each of these ways.
connect((error) => expectType<Error | null>(error));
const options: StartOptions = { script: 'a.js' };
all.start(options, () => {});
pm2.list((error, list) => expectType<ProcessDescription[]>(list));
