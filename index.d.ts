// Types of pm2's programmatic API. Every method takes its callback last, calls it exactly once with `null` or an error first, and
// gives a promise when there is no callback. Nothing prints and nothing ends the process.

declare const pm2: pm2.Instance;
export = pm2;

declare namespace pm2 {
  // ---------------------------------------------------------------------------------------------------------------- The API

  /** A connection to one daemon. `require('pm2')` is one; `new pm2.custom(options)` makes another. */
  interface API {
    readonly Client: Client;
    daemon_mode: boolean;
    pm2_home: string;
    cwd: string;
    public_key: string | null;
    secret_key: string | null;
    machine_name: string | null;
    readonly pm2_configuration: Record<string, unknown>;

    /** Connects to the daemon of this home, launching it if none answers. Connecting twice is connecting once. */
    connect(callback: Callback<Connected>): void;
    connect(noDaemonMode: boolean, callback: Callback<Connected>): void;
    /** @param noDaemonMode true: a daemon that is launched ends with this process, and so do its apps */
    connect(noDaemonMode?: boolean): Promise<Connected>;

    /** Closes the connection and every bus, so that the script can end. The daemon and its apps go on. */
    disconnect(callback: Callback<void>): void;
    disconnect(): Promise<void>;
    close(callback: Callback<void>): void;
    close(): Promise<void>;

    /** Stops every app and ends the daemon. */
    kill(callback: Callback<Success>): void;
    kill(): Promise<Success>;
    killDaemon(callback: Callback<Success>): void;
    killDaemon(): Promise<Success>;
    /** Stops every app, ends the daemon, and deletes the home. One whose path contains `.pm2` stays, and the call fails. */
    destroy(callback: Callback<void>): void;
    destroy(): Promise<void>;
    /** Replaces the running daemon by this package's; apps go on. */
    update(callback: Callback<Success>): void;
    update(): Promise<Success>;
    updatePM2(callback: Callback<Success>): void;
    updatePM2(): Promise<Success>;

    /**
     * Starts a script, an app, several apps, or what a configuration file (`.json`, `.yml`, `.yaml`, `.config.js`, `.cjs`, `.mjs`) declares.
     * When some of several apps fail, the error is an array (a promise is rejected with an AggregateError) and the value holds the others.
     */
    start(what: StartTarget, callback: StartCallback): void;
    start(what: StartTarget, options: StartOptions | string, callback: StartCallback): void;
    /** @deprecated The value is an array. */
    start(what: StartTarget, callback: ProcCallback): void;
    /** @deprecated The value is an array. */
    start(what: StartTarget, options: StartOptions | string, callback: ProcCallback): void;
    /** @param options for `what`; with a script also the name of a JSON or JavaScript file that holds them */
    start(what: StartTarget, options?: StartOptions | string): Promise<StartedProcess[]>;

    /** Stops and starts again; starts what is stopped. */
    restart(target: Target, callback: Callback<TouchedProcess[]>): void;
    /** @deprecated The value is an array. */
    restart(target: Target, callback: ProcCallback): void;
    restart(target: Target, options: RestartOptions, callback: Callback<TouchedProcess[]>): void;
    restart(target: Target, options?: RestartOptions): Promise<TouchedProcess[]>;

    /** In cluster mode the new instance is ready before the old one goes; in fork mode a restart. */
    reload(target: Target, callback: Callback<TouchedProcess[]>): void;
    /** @deprecated The value is an array. */
    reload(target: Target, callback: ProcCallback): void;
    reload(target: Target, options: RestartOptions, callback: Callback<TouchedProcess[]>): void;
    /** @deprecated The value is an array. */
    reload(target: Target, options: RestartOptions, callback: ProcCallback): void;
    reload(target: Target, options?: RestartOptions): Promise<TouchedProcess[]>;

    /** A reload whose old instance is sent the message `shutdown` first. */
    gracefulReload(target: Target, callback: Callback<TouchedProcess[]>): void;
    gracefulReload(target: Target, options: RestartOptions, callback: Callback<TouchedProcess[]>): void;
    gracefulReload(target: Target, options?: RestartOptions): Promise<TouchedProcess[]>;

    /** Ends the processes and keeps them in the list. */
    stop(target: Target, callback: Callback<TouchedProcess[]>): void;
    /** @deprecated The value is an array. */
    stop(target: Target, callback: ProcCallback): void;
    stop(target: Target): Promise<TouchedProcess[]>;

    /** Ends the processes and forgets them. */
    delete(target: Target, callback: Callback<TouchedProcess[]>): void;
    /** @deprecated The value is an array. */
    delete(target: Target, callback: ProcCallback): void;
    delete(json: string, via: 'pipe', callback: Callback<TouchedProcess[]>): void;
    delete(target: Target, via?: 'pipe'): Promise<TouchedProcess[]>;

    /** Starts those of the apps that are missing, and restarts or reloads the others. */
    _startJson(what: DeclaredApps, options: RestartOptions | null, method: StartingMethod, callback: StartCallback): void;
    _startJson(
      what: DeclaredApps,
      options: RestartOptions | null,
      method: StartingMethod,
      via: 'file' | 'pipe' | (string & {}),
      callback: StartCallback,
    ): void;
    /** @param via `'pipe'`: `what` is the JSON text of apps */
    _startJson(what: DeclaredApps, options: RestartOptions | null, method: StartingMethod, via?: string): Promise<StartedProcess[]>;

    /** Does it to those of the apps that are managed, and leaves the others be. */
    actionFromJson(
      method: StartingMethod | EndingMethod,
      what: DeclaredApps,
      options: RestartOptions | null,
      via: 'file' | 'pipe' | (string & {}),
      callback: Callback<TouchedProcess[]>,
    ): void;
    actionFromJson(
      method: StartingMethod | EndingMethod,
      what: DeclaredApps,
      options?: RestartOptions | null,
      via?: string,
    ): Promise<TouchedProcess[]>;

    /** @param count in total, or `'+2'` more, or `'-1'` less */
    scale(name: string, count: number | string, callback: Callback<Success>): void;
    scale(name: string, count: number | string): Promise<Success>;

    /** Sets the counts of restarts back to 0. */
    reset(target: NameOrId, callback: Callback<Success>): void;
    reset(target: NameOrId): Promise<Success>;

    /** Every process, by ascending id. */
    list(callback: Callback<ProcessDescription[]>): void;
    list(options: object, callback: Callback<ProcessDescription[]>): void;
    list(options?: object): Promise<ProcessDescription[]>;

    /** The processes of that name, or the one with that id; `[]` when there is none. */
    describe(process: NameOrId, callback: Callback<ProcessDescription[]>): void;
    describe(process: NameOrId): Promise<ProcessDescription[]>;

    getProcessIdByName(name: string, callback: Callback<number[]>): void;
    getProcessIdByName(name: string): Promise<number[]>;

    /** Pids; 0 for what is stopped. All of them without a name. */
    getPID(callback: Callback<number[]>): void;
    getPID(name: NameOrId, callback: Callback<number[]>): void;
    getPID(name?: NameOrId): Promise<number[]>;

    /** The version of pm2 that the daemon is compatible with. */
    getVersion(callback: Callback<string>): void;
    getVersion(): Promise<string>;
    ping(callback: Callback<{ msg: 'pong' }>): void;
    ping(): Promise<{ msg: 'pong' }>;

    /** The variables of one process, as its record has them. */
    env(id: number | string, callback: Callback<Record<string, unknown>>): void;
    env(id: number | string): Promise<Record<string, unknown>>;

    /**
     * Has the machine's init system bring the saved processes back at boot. Needs root, but with `print` or `root` and for `systemd-user`;
     * the error of who is not root says what to paste.
     * @param platform default: what this machine has, also with `root`
     */
    startup(callback: Callback<StartupResult>): void;
    startup(options: StartupOptions, callback: Callback<StartupResult>): void;
    startup(platform: StartupPlatform, callback: Callback<StartupResult>): void;
    startup(platform: StartupPlatform | undefined, options: StartupOptions, callback: Callback<StartupResult>): void;
    startup(platform?: StartupPlatform | StartupOptions, options?: StartupOptions): Promise<StartupResult>;
    /** Has it do so no more; what could not be done is in `failed`. */
    uninstallStartup(callback: Callback<UninstallStartupResult>): void;
    uninstallStartup(options: StartupOptions, callback: Callback<UninstallStartupResult>): void;
    uninstallStartup(platform: StartupPlatform, callback: Callback<UninstallStartupResult>): void;
    uninstallStartup(platform: StartupPlatform | undefined, options: StartupOptions, callback: Callback<UninstallStartupResult>): void;
    uninstallStartup(platform?: StartupPlatform | StartupOptions, options?: StartupOptions): Promise<UninstallStartupResult>;

    /** A value of the configuration store, `module_conf.json`; all of it without a key and for `'all'`. Fails for what is not set. */
    get(callback: Callback<any>): void;
    get(key: string, callback: Callback<any>): void;
    get(key?: string): Promise<any>;
    /**
     * Sets `'section.key'` or `'section:key'`, and restarts the app or module called like the section: what the section holds is part of its
     * environment. Text inside double quotes is not split.
     */
    set(key: string, value: unknown, callback: Callback<Success>): void;
    set(key: string, value: unknown): Promise<Success>;
    /** @param text `'key value key value …'`; the app of the first key is restarted */
    multiset(text: string, callback: Callback<Success>): void;
    multiset(text: string): Promise<Success>;
    /** @param key `'all'` empties the store */
    unset(key: string, callback: Callback<Success>): void;
    unset(key: string): Promise<Success>;
    /** {@link set} with a value, {@link get} without. */
    conf(callback: Callback<any>): void;
    conf(key: string, callback: Callback<any>): void;
    conf(key: string, value: unknown, callback: Callback<any>): void;
    conf(key?: string, value?: unknown): Promise<any>;

    /** Calls a method of this API by its name, with `name` for an argument. */
    remote(command: string, options: { name?: NameOrId } | null, callback: Callback<any>): void;
    remote(command: string, options?: { name?: NameOrId } | null): Promise<any>;
    /** The same with any arguments. */
    remoteV2(command: string, options: { args?: unknown[] } | null, callback: Callback<any>): void;
    remoteV2(command: string, options?: { args?: unknown[] } | null): Promise<any>;

    /** Saves the list of processes. An empty one only with `force`. */
    dump(callback: Callback<Success>): void;
    dump(force: boolean, callback: Callback<Success>): void;
    dump(force?: boolean): Promise<Success>;

    /** Starts what was saved and is not there; the value is the saved list as it was read. Without a callback it is false when nothing readable was saved. */
    resurrect(callback: Callback<Buffer>): void;
    resurrect(): Promise<Buffer> | false;
    /** Forgets what was saved. The callback gets no arguments when that worked. */
    clearDump(callback: (error?: Error) => void): void;
    clearDump(): Promise<void>;
    /** Does nothing, as in pm2. */
    autodump(callback: Callback<void>): void;
    autodump(): Promise<void>;

    /** Empties log files. */
    flush(callback: Callback<ProcessDescription[]>): void;
    flush(process: NameOrId, callback: Callback<ProcessDescription[]>): void;
    flush(process?: NameOrId): Promise<ProcessDescription[]>;

    /** Opens every log file anew, for a tool that has moved them away. */
    reloadLogs(callback: Callback<object>): void;
    reloadLogs(): Promise<object>;

    /** Opens the bus. Nothing that is published after the callback is missed. */
    launchBus(callback: BusCallback): void;
    launchBus(): Promise<Bus>;

    /** The app gets the whole packet as a message. */
    sendDataToProcessId(packet: Packet & { id: number | string }, callback: Callback<Sent>): void;
    sendDataToProcessId(packet: Packet & { id: number | string }): Promise<Sent>;
    sendDataToProcessId(id: number | string, packet: Packet, callback: Callback<Sent>): void;
    sendDataToProcessId(id: number | string, packet: Packet): Promise<Sent>;

    /** @param separator ends the line; default `\n` */
    sendLineToStdin(id: number | string, line: string, callback: Callback<SentLine>): void;
    sendLineToStdin(id: number | string, line: string, separator: string | undefined, callback: Callback<SentLine>): void;
    sendLineToStdin(id: number | string, line: string, separator?: string): Promise<SentLine>;

    sendSignalToProcessName(signal: SignalName, name: NameOrId, callback: Callback<ProcessDescription[]>): void;
    sendSignalToProcessName(signal: SignalName, name: NameOrId): Promise<ProcessDescription[]>;
    sendSignalToProcessId(signal: SignalName, id: number | string, callback: Callback<ProcessDescription[]>): void;
    sendSignalToProcessId(signal: SignalName, id: number | string): Promise<ProcessDescription[]>;

    /** Calls an action that an app has registered, without waiting for its answer. */
    msgProcess(command: ActionCall, callback: Callback<Reached>): void;
    msgProcess(command: ActionCall): Promise<Reached>;

    /** Calls an action and collects the answer of every process that has it. */
    trigger(target: NameOrId, action: string, callback: Callback<Reply[]>): void;
    trigger(target: NameOrId, action: string, params: unknown, callback: Callback<Reply[]>): void;
    trigger(target: NameOrId, action: string, params?: unknown): Promise<Reply[]>;

    monitorState(state: 'monitor' | 'unmonitor', target: NameOrId, callback: Callback<void>): void;
    monitorState(state: 'monitor' | 'unmonitor', target: NameOrId): Promise<void>;

    /**
     * Hands out the files of a folder by HTTP, as an app in fork mode called `static-page-server-<port>`. `PM2_SERVE_PORT` and `PM2_SERVE_PATH`
     * of the caller win over the arguments.
     * @param commander whose `name`, if it is text, is the app's name
     */
    serve(path: string, port: number | string, options: ServeOptions, commander: object, callback: StartCallback): void;
    serve(path: string, port: number | string, options: ServeOptions, callback: StartCallback): void;
    serve(path: string, port: number | string, callback: StartCallback): void;
    serve(path?: string, port?: number | string, options?: ServeOptions, commander?: object): Promise<StartedProcess[]>;

    /**
     * Installs and starts a module: an app that lives with the daemon. The value is that of {@link start}; a text for tarballs.
     * @param what `'.'`: the package in the current folder, for development; a `.tar.gz` that {@link package} made; or what npm can install
     */
    install(what: string, callback: Callback<StartedProcess[] | string>): void;
    install(what: string, options: InstallOptions, callback: Callback<StartedProcess[] | string>): void;
    install(what: string, options?: InstallOptions): Promise<StartedProcess[] | string>;
    /** @param name `'all'`: every module */
    uninstall(name: string, callback: Callback<void>): void;
    uninstall(name: string): Promise<void>;
    /** Packs a module's folder into a tarball in the current folder. */
    package(callback: Callback<{ package_name: string; path: string }>): void;
    package(folder: string, callback: Callback<{ package_name: string; path: string }>): void;
    package(folder?: string): Promise<{ package_name: string; path: string }>;
    /** Starts every installed module; {@link connect} does that when it launches a daemon. */
    launchModules(callback: Callback<LaunchedModules>): void;
    launchModules(): Promise<LaunchedModules>;
    launchAll(instance: API, callback: Callback<LaunchedModules>): void;
    launchAll(instance?: API): Promise<LaunchedModules>;
    /** Deletes the processes of that name, and leaves what is installed. */
    deleteModule(name: string, callback: Callback<ProcessDescription[]>): void;
    deleteModule(name: string): Promise<ProcessDescription[]>;
    /**
     * Writes the last lines of logs to this process' stdout, and then what comes; there is no callback.
     * @param exclusive `'out'` or `'err'`: that stream alone
     * @param timestamp a form of dayjs', put before each line
     */
    streamLogs(
      id?: NameOrId,
      lines?: number,
      raw?: boolean,
      timestamp?: string | false | null,
      exclusive?: 'out' | 'err' | false,
      highlight?: string,
    ): Promise<Bus>;
    printLogs(
      id?: NameOrId,
      lines?: number,
      raw?: boolean,
      timestamp?: string | false | null,
      exclusive?: 'out' | 'err' | false,
    ): Promise<void>;

    /** This process' stdin to an app, line by line, and what the app prints to stdout, until stdin ends. */
    attach(id: number | string, callback: Callback<void>): void;
    attach(id: number | string, separator: string | undefined, callback: Callback<void>): void;
    attach(id: number | string, separator?: string): Promise<void>;
    /** Calls the action by which an app opens its inspector, if it has one. */
    inspect(name: NameOrId, callback: Callback<Reply[]>): void;
    inspect(name: NameOrId): Promise<Reply[]>;
    /** Fails: the daemon has no JavaScript to profile. */
    profile(type: 'cpu' | 'mem', callback: Callback<never>): void;
    profile(type: 'cpu' | 'mem', time: number | undefined, callback: Callback<never>): void;
    profile(type: 'cpu' | 'mem', time?: number): Promise<never>;
    /** A text about daemon, machine and processes, without variables. */
    report(callback: Callback<string>): void;
    report(): Promise<string>;
    /**
     * Deploys over ssh what `deploy.<environment>` of a file says. The value is what the hosts printed.
     * @param words as on the command line: the environment, then `setup`, `update` (default), `revert [n]`, `curr`, `prev`, `exec <command>`, `list`, or a ref
     */
    deploy(file: string, words: string[] | { rawArgs: string[] }, callback: Callback<string | string[]>): void;
    deploy(file: string, words?: string[] | { rawArgs: string[] }): Promise<string | string[]>;
    /** Fetches, moves the checkout that an app runs from to the newest commit of its branch, runs `post_update`, and reloads the app. */
    pullAndReload(name: string, callback: Callback<TouchedProcess[]>): void;
    pullAndReload(name: string): Promise<TouchedProcess[]>;
    pullAndRestart(name: string, callback: Callback<TouchedProcess[]>): void;
    pullAndRestart(name: string): Promise<TouchedProcess[]>;
    /** The same to one commit. */
    pullCommitId(name: string, commit: string, callback: Callback<TouchedProcess[]>): void;
    pullCommitId(name: string, commit: string): Promise<TouchedProcess[]>;
    /** The same to the commit before. */
    backward(name: string, callback: Callback<TouchedProcess[]>): void;
    backward(name: string): Promise<TouchedProcess[]>;
    /** The same to the commit after, towards the branch of the remote repository. */
    forward(name: string, callback: Callback<TouchedProcess[]>): void;
    forward(name: string): Promise<TouchedProcess[]>;
    /** Writes `ecosystem.config.js` into the current folder. */
    generateSample(mode: 'simple' | undefined, callback: Callback<{ path: string }>): void;
    generateSample(mode?: 'simple'): Promise<{ path: string }>;
    /** Writes rules for logrotate; `folder` instead of `/etc/logrotate.d`, which needs root. */
    logrotate(options: { user?: string; folder?: string }, callback: Callback<{ path: string }>): void;
    logrotate(options?: { user?: string; folder?: string }): Promise<{ path: string }>;
    /** Writes the list to this process' stdout, as JSON. */
    jlist(): Promise<void>;
    /** Writes the figures of the machine to this process' stdout. */
    slist(): Promise<void>;

    /** Writes the beginnings of a module into a new folder of that name. */
    generateModuleSample(name: string, callback: Callback<{ path: string }>): void;
    generateModuleSample(name: string): Promise<{ path: string }>;
  }

  interface InstallOptions extends RestartOptions {
    /** `what` is a tarball of a module, whatever it is called. */
    tarball?: boolean;
    /** Runs `yarn install` in an unpacked tarball. */
    install?: boolean;
    /** Watches the module for so long (true: 3 s); if it keeps restarting the previous one takes its place again. */
    safe?: boolean | number | string;
    uid?: number | string;
    gid?: number | string;
  }

  interface LaunchedModules {
    started: string[];
    failed: FailedModule[];
  }

  interface FailedModule {
    name: string;
    message: string;
  }

  /** What {@link API.serve} takes beside the options of an app. */
  interface ServeOptions extends StartOptions {
    /** A missing path is the home page, for applications that have their own paths. */
    spa?: boolean;
    /** A folder without `index.html` is a list of what is in it. */
    ftp?: boolean;
    basicAuthUsername?: string;
    basicAuthPassword?: string;
    /** Accepted for pm2's sake; nothing is reported to anybody. */
    monitor?: string;
  }

  /** What `require('pm2')` is. */
  interface Instance extends API {
    readonly custom: APIConstructor;
  }

  type APIConstructor = new (options?: APIOptions) => API;

  interface APIOptions {
    /** Base of relative scripts and configuration files. Default: `process.cwd()`. */
    cwd?: string;
    /** The home. Default: `$PM2_HOME`, else `~/.pm2`. */
    pm2_home?: string;
    /** False: the daemon ends with this process. Default: true. */
    daemon_mode?: boolean;
    /** A random home; `daemon_mode` is then false unless given. */
    independent?: boolean;
    public_key?: string;
    secret_key?: string;
    machine_name?: string;
  }

  /** The lower half of the API: the daemon's RPC methods by name, and lists. */
  interface Client {
    readonly conf: Record<string, unknown>;
    readonly rpc_socket_file: string;
    readonly pub_socket_file: string;
    daemon_mode: boolean;
    pm2_home: string;

    start(callback: Callback<Connected>): void;
    start(): Promise<Connected>;
    launchRPC(callback: Callback<Connected>): void;
    launchRPC(): Promise<Connected>;
    close(callback: Callback<void>): void;
    close(): Promise<void>;
    /** Calls back with one boolean and no error. Never launches a daemon. */
    pingDaemon(callback: (isAlive: boolean) => void): void;
    pingDaemon(): Promise<boolean>;
    killDaemon(callback: Callback<Success>): void;
    killDaemon(): Promise<Success>;
    launchBus(callback: BusCallback): void;
    launchBus(): Promise<Bus>;
    disconnectBus(callback: Callback<void>): void;
    disconnectBus(): Promise<void>;
    disconnectRPC(callback: Callback<void>): void;
    disconnectRPC(): Promise<void>;
    getExposedMethods(callback: Callback<Record<string, { name: string; params: string[] }>>): void;
    getExposedMethods(): Promise<Record<string, { name: string; params: string[] }>>;
    executeRemote(method: string, argument: unknown, callback: (error: Error | null, ...values: any[]) => void): void;
    executeRemote(method: string, callback: (error: Error | null, ...values: any[]) => void): void;
    executeRemote(method: string, argument?: unknown): Promise<any>;
    getAllProcess(callback: Callback<ProcessDescription[]>): void;
    getAllProcess(): Promise<ProcessDescription[]>;
    getAllProcessId(callback: Callback<number[]>): void;
    getAllProcessId(): Promise<number[]>;
    getAllProcessIdWithoutModules(callback: Callback<number[]>): void;
    getAllProcessIdWithoutModules(): Promise<number[]>;
    getProcessIdByName(name: string, callback: (error: Error | null, ids: number[], records: Record<string, Pm2Env>) => void): void;
    getProcessIdByName(name: string): Promise<number[]>;
    getProcessIdsByNamespace(
      namespace: string,
      callback: (error: Error | null, ids: number[], records: Record<string, Pm2Env>) => void,
    ): void;
    getProcessIdsByNamespace(namespace: string): Promise<number[]>;
    getProcessByName(name: string, callback: Callback<ProcessDescription[]>): void;
    getProcessByName(name: string): Promise<ProcessDescription[]>;
    getProcessByNameOrId(nameOrId: NameOrId, callback: Callback<ProcessDescription[]>): void;
    getProcessByNameOrId(nameOrId: NameOrId): Promise<ProcessDescription[]>;
  }

  // ------------------------------------------------------------------------------------------------------------------ The bus

  /** The events of the daemon and of its apps. In a pattern `*` stands for one or more characters, which come before the payload. */
  interface Bus {
    on(pattern: 'process:event', listener: (packet: ProcessEvent) => void): this;
    on(pattern: 'log:out' | 'log:err' | 'log:PM2', listener: (packet: LogEvent) => void): this;
    on(pattern: 'log:*', listener: (type: 'out' | 'err' | 'PM2', packet: LogEvent) => void): this;
    on(pattern: 'process:exception' | 'process:msg', listener: (packet: AppEvent) => void): this;
    on(pattern: '*', listener: (event: string, packet: any) => void): this;
    on(pattern: string, listener: (...args: any[]) => void): this;
    once(pattern: string, listener: (...args: any[]) => void): this;
    /** Removes one listener of a pattern, or all of them. */
    off(pattern: string, listener?: (...args: any[]) => void): this;
    /** Ends the subscription. */
    close(): void;
  }

  /** Emits `reconnect attempt` while no daemon is there, `connect` when there is one again, and `close`. */
  interface BusSocket extends NodeJS.EventEmitter {
    close(): void;
  }

  interface EventSource {
    pm_id: number | string;
    name: string;
    namespace?: string;
    rev?: string | null;
  }

  interface LogEvent {
    at: number;
    data: string;
    process: EventSource;
  }

  interface AppEvent {
    at: number;
    process: EventSource;
    /** Of a message with `type` and `data`. */
    data?: any;
    /** Any other message. */
    raw?: any;
  }

  interface ProcessEvent {
    at: number;
    event: 'online' | 'start' | 'exit' | 'restart' | 'stop' | 'reload' | 'graceful reload' | 'delete' | 'restart overlimit' | (string & {});
    manually: boolean;
    process: Omit<Pm2Env, 'env'>;
  }

  // ------------------------------------------------------------------------------------------------------------------ Options

  /** A script, an app, apps, or the name of a configuration file. */
  type StartTarget = string | StartOptions | StartOptions[] | Declaration;

  /** A name, an id, `'all'`, a `/regex/`, a namespace, or apps as for {@link API.start}. */
  type Target = NameOrId | StartOptions | StartOptions[] | Declaration;

  type NameOrId = string | number;

  /** Apps, the name of a file that declares them, or (with `via` `'pipe'`) their JSON text. */
  type DeclaredApps = string | StartOptions | StartOptions[] | Declaration;

  /** RPC methods that can be named for declared apps. */
  type StartingMethod = 'restartProcessId' | 'reloadProcessId' | 'softReloadProcessId';
  type EndingMethod = 'stopProcessId' | 'deleteProcessId';

  /** The content of a configuration file. */
  interface Declaration {
    apps: StartOptions | StartOptions[];
    [other: string]: unknown;
  }

  /** What an app can declare. Every option of several words has two spellings, `kill_timeout` and `killTimeout`. */
  interface StartOptions extends AppOptions, CamelCased<Omit<AppOptions, `env_${string}`>>, Aliases, StartControl {}

  interface AppOptions {
    /** Default: the script's name without extension. */
    name?: string;
    namespace?: string;
    script?: string;
    args?: string | string[];
    /** For an interpreter other than `none`. */
    interpreter_args?: string | string[];
    node_args?: string | string[];
    cwd?: string;
    /** Default: by the script's extension; `none` runs the script itself. */
    interpreter?: string;
    exec_interpreter?: string;
    exec_mode?: 'fork' | 'cluster' | 'fork_mode' | 'cluster_mode';
    /** `'max'` or 0: one for each CPU; negative: so many fewer. */
    instances?: number | 'max' | `${number}`;
    env?: Environment;
    /** Used with `{ env: '<name>' }`. */
    [environment: `env_${string}`]: Environment | undefined;
    /** Names of inherited variables to leave out; `true` for all. */
    filter_env?: boolean | string | string[];
    port?: number;
    increment_var?: string;
    /** Default: `NODE_APP_INSTANCE`. */
    instance_var?: string;
    out_file?: string;
    error_file?: string;
    log_file?: boolean | string;
    pid_file?: string;
    disable_logs?: boolean;
    log_type?: 'json' | (string & {});
    log_date_format?: string;
    time?: boolean;
    merge_logs?: boolean;
    combine_logs?: boolean;
    /** Default: true. */
    autostart?: boolean;
    /** Default: true. */
    autorestart?: boolean;
    stop_exit_codes?: number | number[];
    /** Milliseconds, or text such as `'2m'`. */
    min_uptime?: number | string;
    max_restarts?: number;
    /** Bytes, or text such as `'150M'`. */
    max_memory_restart?: number | string;
    restart_delay?: number;
    exp_backoff_restart_delay?: number;
    /** Milliseconds between the first signal and SIGKILL. Default: 1600. */
    kill_timeout?: number;
    kill_retry_time?: number;
    shutdown_with_message?: boolean;
    /** Signal the children too. Default: true. */
    treekill?: boolean;
    /** The app says `process.send('ready')`. */
    wait_ready?: boolean;
    listen_timeout?: number;
    /** Cluster mode: all TCP connections from one address go to one worker. */
    sticky?: boolean;
    cron_restart?: string | number;
    watch?: boolean | string | string[];
    watch_delay?: number;
    ignore_watch?: string | string[];
    watch_options?: object;
    /** False: exceptions are not reported, and Node's own rule holds for unhandled rejections. */
    pmx?: boolean | string;
    automation?: boolean;
    vizion?: boolean;
    source_map_support?: boolean;
    disable_source_map_support?: boolean;
    uid?: number | string;
    gid?: number | string;
    /** What files of the app are not allowed to everybody: a number, or octal text such as `'027'`. */
    umask?: number | string;
    username?: string;
    append_env_to_name?: boolean;
    execute_command?: boolean;
    write?: boolean;
    trace?: boolean;
    disable_trace?: boolean;
    v8?: boolean;
    event_loop_inspector?: boolean;
    deep_monitoring?: boolean;
    io?: object;
    post_update?: string[];
    windowsHide?: boolean;
  }

  /** Other names of options. */
  interface Aliases {
    exec?: string;
    cmd?: string;
    command?: string;
    output?: string;
    out?: string;
    out_log?: string;
    error?: string;
    err?: string;
    err_file?: string;
    err_log?: string;
    log?: boolean | string;
    pid?: string;
    cron?: string | number;
    user?: number | string;
    /** Arguments of the script. */
    scriptArgs?: string[];
    runAsUser?: number | string;
    runAsGroup?: number | string;
  }

  /** What steers `start` and is no property of the app. */
  interface StartControl {
    /** Start another process of a script that runs already. */
    force?: boolean;
    /** Of the apps, act on these. */
    only?: string;
    updateEnv?: boolean;
  }

  interface RestartOptions extends Omit<StartOptions, 'env'> {
    /** Take over the environment of the caller. */
    updateEnv?: boolean;
    /** With apps: the `env_<name>` to use. */
    env?: string | Environment;
    parallel?: number;
  }

  type Environment = Record<string, unknown>;

  /** `kill_timeout` → `killTimeout`. */
  type CamelCased<T> = { [K in keyof T as K extends string ? CamelCase<K> : never]: T[K] };
  type CamelCase<S extends string> = S extends `${infer Head}_${infer Tail}` ? `${Head}${Capitalize<CamelCase<Tail>>}` : S;

  // ------------------------------------------------------------------------------------------------------------------- Values

  /** Written as a method, so that one that says `error: Error`, as pm2's own types do, is taken too. */
  type Callback<T> = { call(error: Error | null, value: T): void }['call'];
  type StartCallback = { call(error: StartError | null, processes: StartedProcess[]): void }['call'];
  type BusCallback = { call(error: Error | null, bus: Bus, socket: BusSocket): void }['call'];
  /** An Error; of several apps it may be an array with one Error for each that failed, which `Array.isArray` tells. */
  type StartError = Error & Partial<ArrayLike<Error>>;
  /** @deprecated The value is an array: {@link TouchedProcess}. pm2's own types have it so. */
  type ProcCallback = (error: Error, process: Proc) => void;

  /** What `startup` and `uninstallStartup` know; several names mean the same. */
  type StartupPlatform =
    | 'systemd'
    | 'systemd-user'
    | 'upstart'
    | 'systemv'
    | 'openrc'
    | 'launchd'
    | 'rcd'
    | 'rcd-openbsd'
    | 'smf'
    | (string & {});

  interface StartupOptions {
    /** Whose processes; default: the caller, by `USER` or `LOGNAME`. */
    user?: string;
    /** The folder that the home `.pm2` is in; default: this instance's home, or that of `user`. */
    hp?: string;
    /** Default: `pm2-<user>`, or what is usual for the init system. */
    serviceName?: string;
    /** Wait until the machine has an address (systemd). */
    waitIp?: boolean;
    /** Do nothing, only say what would be done. */
    print?: boolean;
    /**
     * A folder that stands for `/`: the disk of another machine. Its files are changed, nothing of this machine is told, started or stopped.
     * Most init systems but systemd, launchd and SMF need root then, and the image's own programs (`chroot`).
     */
    root?: string;
  }

  interface StartupResult {
    /** The file for the init system. */
    destination: string;
    /** What is in it. */
    template: string;
    /** What was run, or would be. */
    commands: string[];
    platform: string;
    /** What the machine has, as far as its programs tell. */
    detected: string | null;
    service: string;
  }

  interface UninstallStartupResult {
    commands: string[];
    platform: string;
    detected: string | null;
    service: string;
    destination: string;
    /** What could not be done, and why. */
    failed: string[];
  }

  interface Success {
    success: true;
  }

  interface Connected {
    new_pm2_instance: boolean;
    rpc_socket_file: string;
    pub_socket_file: string;
    pm2_home: string;
    /** Installed modules that could not be started with the daemon that was launched; absent when there are none. */
    failed_modules?: FailedModule[];
  }

  interface Packet {
    type?: string;
    /** What the message is about; its `type` unless given. */
    topic?: unknown;
    data: unknown;
    [other: string]: unknown;
  }

  interface Sent {
    success: true;
    data: Packet & { id: number | string };
  }

  interface SentLine {
    pm_id: number | string;
    line: string;
  }

  interface ActionCall {
    id?: number | string;
    name?: string;
    msg: string;
    opts?: unknown;
  }

  interface Reached {
    process_count: number;
    success: true;
  }

  interface Reply {
    at: number;
    data: { at: number; action_name: string; return: any };
    process: EventSource;
  }

  type SignalName = NodeJS.Signals | number | (string & {});

  type ProcessStatus = 'online' | 'stopping' | 'stopped' | 'launching' | 'errored' | 'waiting restart' | 'one-launch-status';

  /** One process of the list. */
  interface ProcessDescription {
    /** 0 when it does not run. */
    pid: number;
    name: string;
    pm2_env: Pm2Env;
    pm_id: number;
    monit: Monit;
  }

  /** What `start` gives: one for each process; trimmed where the start was a restart. */
  interface StartedProcess {
    pm2_env: Partial<Pm2Env> & Pick<Pm2Env, 'name' | 'pm_id' | 'status' | 'namespace' | 'restart_time' | 'env'>;
    /** Of what was started anew. */
    process?: { pid: number };
    pid?: number;
    pm_id?: number | string;
    name?: string;
    status?: ProcessStatus;
    [other: string]: unknown;
  }

  /** What restart, reload, stop and delete give. */
  interface TouchedProcess {
    name: string;
    namespace: string;
    pm_id: number | string;
    status: ProcessStatus;
    restart_time: number;
    pm2_env: Pick<Pm2Env, 'name' | 'namespace' | 'pm_id' | 'status' | 'restart_time' | 'env'>;
  }

  interface Monit {
    /** Resident bytes. */
    memory: number;
    /** Percent of one CPU. */
    cpu: number;
  }

  /** The record of a process. The variables of its environment are members too. */
  interface Pm2Env {
    name: string;
    namespace: string;
    pm_id: number;
    status: ProcessStatus;
    restart_time: number;
    unstable_restarts: number;
    env: Record<string, any>;
    exec_mode: 'fork_mode' | 'cluster_mode';
    exec_interpreter: string;
    instances: number;
    node_args: string[];
    args?: string[];
    pm_exec_path: string;
    pm_cwd: string;
    pm_out_log_path: string;
    pm_err_log_path: string;
    pm_log_path?: string;
    pm_pid_path: string;
    pm_uptime: number;
    created_at: number | null;
    unique_id: string;
    username: string;
    version: string;
    node_version?: string;
    exit_code?: number;
    autorestart: boolean;
    watch?: boolean | string | string[];
    /** Members of the declaration that are no options, if it has any. They do nothing. */
    unknown_options?: string[];
    axm_actions: { action_name: string; action_type?: string; arity?: number; opts?: any }[];
    axm_monitor: Record<string, any>;
    axm_options: Record<string, any>;
    axm_dynamic: Record<string, any>;
    versioning?: any;
    [member: string]: any;
  }

  // Names that pm2's own types use for these.
  type Proc = Partial<Pm2Env>;
  type Command = Record<string, any>;
  type DockerOptions = Record<string, any>;
  type ReloadOptions = RestartOptions;
}
