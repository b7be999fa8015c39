import { expectAssignable, expectError, expectNotAssignable, expectType } from 'tsd';
import pm2 = require('../..');

// Connections.
pm2.connect((error) => expectType<Error | null>(error));
pm2.connect(true, (error, meta) => expectType<string>(meta.rpc_socket_file));
expectType<Promise<pm2.Connected>>(pm2.connect());
expectType<void>(pm2.connect(() => {}));
expectType<Promise<void>>(pm2.disconnect());
pm2.disconnect();
pm2.killDaemon((error, result) => expectType<true>(result.success));
expectError(pm2.connect('yes'));

// The documented forms of start.
pm2.start('app.js', (error, processes) => {
  expectType<pm2.StartError | null>(error);
  if (Array.isArray(error)) error.map((each: Error) => each.message);
  else if (error) expectType<string>(error.message);
  expectType<pm2.StartedProcess[]>(processes);
  expectType<pm2.ProcessStatus>(processes[0].pm2_env.status);
});
pm2.start({ script: 'app.js', exec_mode: 'cluster', instances: 4, max_memory_restart: '100M' }, (error, apps) => apps.length);
pm2.start('app.js', { name: 'web', maxMemoryRestart: '100M', killTimeout: 500, args: ['a'], mergeLogs: true }, () => {});
pm2.start('app.js', 'options.json', () => {});
pm2.start([{ script: 'a.js' }, { script: 'b.js', instances: 'max' }]);
pm2.start({ apps: [{ script: 'a.js', env: { PORT: 3000 }, env_production: { PORT: 80 } }], deploy: {} });
expectType<Promise<pm2.StartedProcess[]>>(pm2.start('app.js'));
expectError(pm2.start(5));
expectError(pm2.start({ script: 5 }));
expectError(pm2.start({ script: 'a.js', instances: true }));
expectError(pm2.start({ script: 'a.js', exec_mode: 'both' }));
expectError(pm2.start({ script: 'a.js', autorestart: 'true' }));

// What was written for pm2's own types.
pm2.connect((error: Error) => expectType<string>(error.message));
pm2.launchBus((error: Error, bus: any) => bus.on('process:event', () => {}));
pm2.describe(0, (error: Error, found: pm2.ProcessDescription[]) => found.length);
pm2.start({ script: 'a.js' }, (error: Error, process: pm2.Proc) => expectType<number | undefined>(process.pm_id));
pm2.start('a.js', { name: 'a' }, (error: Error, process: pm2.Proc) => process.name);
pm2.restart('a', (error: Error, process: pm2.Proc) => process.name);
pm2.reload('a', { updateEnv: true }, (error: Error, process: pm2.Proc) => process.name);
pm2.stop('a', (error: Error, process: pm2.Proc) => process.name);
pm2.delete('a', (error: Error, process: pm2.Proc) => process.name);
pm2.sendSignalToProcessName(12, 0, (error: Error, found: any) => found);
pm2.profile('cpu', 10, (error: Error) => error.message);
expectAssignable<pm2.DockerOptions>({ imageName: 'a' });
expectAssignable<pm2.Command>({ locked: false });

// Options in both spellings.
expectAssignable<pm2.StartOptions>({
  kill_timeout: 1,
  killTimeout: 1,
  stopExitCodes: [1],
  nodeArgs: '--x',
  logDateFormat: 'YYYY',
  sourceMapSupport: true,
});
expectAssignable<pm2.StartOptions>({ output: 'o', error: 'e', cron: '* * * * *', scriptArgs: ['a'], runAsUser: 1000 });
expectNotAssignable<pm2.StartOptions>({ killTimeout: 'soon' });

// Operations.
pm2.restart('web', (error, processes) => expectType<pm2.TouchedProcess[]>(processes));
pm2.restart(0, { updateEnv: true }, () => {});
pm2.restart({ script: 'a.js' }, { env: 'production' });
pm2.reload('all', { parallel: 2 });
pm2.gracefulReload('web', () => {});
pm2.stop('web');
pm2.delete('[]', 'pipe', () => {});
pm2.scale('web', '+2');
pm2.reset('all', () => {});
expectType<Promise<pm2.TouchedProcess[]>>(pm2.stop(1));
expectError(pm2.restart());
expectError(pm2.stop('web', 5));

// Reading.
pm2.list((error, list) => {
  expectType<pm2.ProcessDescription[]>(list);
  expectType<number>(list[0].monit.memory);
  expectType<string>(list[0].pm2_env.pm_out_log_path);
});
expectType<Promise<pm2.ProcessDescription[]>>(pm2.describe('web'));
expectType<Promise<number[]>>(pm2.getPID());
pm2.getPID('web', (error, pids) => expectType<number[]>(pids));
expectType<Promise<string>>(pm2.getVersion());

expectType<Promise<Record<string, unknown>>>(pm2.env(0));
expectError(pm2.env());

// Declared apps by RPC method, methods by name.
pm2._startJson('apps.json', { env: 'production' }, 'restartProcessId', (error, processes) => expectType<pm2.StartedProcess[]>(processes));
pm2._startJson('[]', null, 'reloadProcessId', 'pipe', () => {});
expectType<Promise<pm2.StartedProcess[]>>(pm2._startJson([{ script: 'a.js' }], {}, 'restartProcessId'));
pm2.actionFromJson('deleteProcessId', 'apps.json', { only: 'a' }, 'file', (error, list) => expectType<pm2.TouchedProcess[]>(list));
expectError(pm2._startJson('apps.json', {}, 'stopProcessId', () => {}));
pm2.remote('restart', { name: 'web' }, (error) => expectType<Error | null>(error));
expectType<Promise<any>>(pm2.remoteV2('restart', { args: ['web', { updateEnv: true }] }));
pm2.destroy((error) => expectType<Error | null>(error));

// The configuration store.
expectType<Promise<any>>(pm2.get('web.key'));
pm2.get((error, all) => all.web);
pm2.set('web.key', { any: 'thing' }, (error, result) => expectType<true>(result.success));
pm2.multiset('web.a 1 web.b 2', () => {});
expectType<Promise<pm2.Success>>(pm2.unset('all'));
pm2.conf('web.key', (error, value) => value);
expectError(pm2.set('web.key'));
expectError(pm2.get(5));

// Messages and the bus.
pm2.launchBus((error, bus, socket) => {
  expectType<pm2.Bus>(bus);
  bus.on('log:out', (packet) => expectType<string>(packet.data));
  bus.on('process:event', (packet) => expectType<boolean>(packet.manually));
  bus.on('log:*', (type, packet) => expectType<'out' | 'err' | 'PM2'>(type));
  bus.on('*', (event, packet) => expectType<string>(event));
  bus.on('my:event', (packet) => packet.anything);
  bus.off('my:event').close();
  socket.close();
});
expectType<Promise<pm2.Bus>>(pm2.launchBus());
pm2.sendDataToProcessId({ type: 'process:msg', data: { some: 'data' }, topic: 'x', id: 0 }, (error, sent) =>
  expectType<true>(sent.success),
);
pm2.sendDataToProcessId(0, { data: 1, topic: true });
pm2.sendLineToStdin(0, 'line', (error, sent) => expectType<string>(sent.line));
pm2.sendSignalToProcessName('SIGUSR2', 'web');
expectType<Promise<pm2.Reply[]>>(pm2.trigger('web', 'action', { any: 'thing' }));
expectError(pm2.sendDataToProcessId({ data: 1, topic: 'x' }));

// The static server, with and without the last argument of the command line.
pm2.serve('www', 8080, { spa: true, basicAuthUsername: 'a', basicAuthPassword: 'b', name: 'pages' }, (error, apps) => apps.length);
pm2.serve('www', '8080', {}, { name: 'pages' }, (error, apps) => apps[0].pm2_env.name);
expectType<Promise<pm2.StartedProcess[]>>(pm2.serve());
expectError(pm2.serve('www', 80, { spa: 'yes' }));
pm2.startup('systemd', (error, made) => expectType<string>(made.destination));
pm2.startup('openrc', { user: 'www', print: true }, (error, made) => expectType<string[]>(made.commands));
expectType<Promise<pm2.StartupResult>>(pm2.startup({ waitIp: true }));
expectType<Promise<pm2.UninstallStartupResult>>(pm2.uninstallStartup('systemd-user'));
expectError(pm2.startup('systemd', { user: 5 }));

// Modules, checkouts, deployment, logs.
pm2.install('pm2-x', { safe: true }, (error, value) => expectType<pm2.StartedProcess[] | string>(value));
expectType<Promise<void>>(pm2.uninstall('all'));
expectType<Promise<{ package_name: string; path: string }>>(pm2.package('.'));
pm2.connect((error, { failed_modules }) => expectType<pm2.FailedModule[] | undefined>(failed_modules));
pm2.pullAndReload('api', (error, touched) => touched[0].restart_time);
pm2.deploy('ecosystem.config.js', ['production', 'setup'], (error, said) => expectType<string | string[]>(said));
expectType<Promise<pm2.Bus>>(pm2.streamLogs('api', 10, false, null, 'err'));
expectType<Promise<string>>(pm2.report());
expectError(pm2.install(5));

// Other instances, and the lower half.
const other = new pm2.custom({ pm2_home: '/tmp/home', daemon_mode: false });
expectType<pm2.API>(other);
other.Client.executeRemote('getMonitorData', {}, (error, list) => list.length);
other.Client.pingDaemon((isAlive) => expectType<boolean>(isAlive));
expectError(new pm2.custom({ home: '/tmp' }));
