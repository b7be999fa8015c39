//! The core's language: what it is told, what it is asked, what it wants done.

use crate::model::{
    AppMessage, BusEvent, ConnectionId, Exit, JsonText, ListenerId, Pid, PmId, RunId, Signal,
    SocketId, Ticket, WireId,
};

use super::cluster::{ListenAddress, SocketName};
use super::{Failure, SpawnPlan};

/// One accepted connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Which one.
    pub connection: ConnectionId,
    /// Whom it was sent to already, and in which message.
    pub sent: Option<(RunId, u64)>,
}

/// A worker that gets a connection as soon as there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taker {
    /// Which run.
    pub run: RunId,
    /// The number of the message.
    pub seq: u64,
    /// The JSON value that goes with it: an envelope as Node's.
    pub line: JsonText,
}

/// Something that happened.
///
/// What the daemon promises: every `Effect::Spawn` is followed by exactly one `Spawned`, `SpawnFailed` or `NeverSpawned`; after
/// `Spawned` comes exactly one `Exited`, once everything the run wrote has been read; after `Exited` exactly one `Drained`.
#[derive(Clone, Debug)]
pub enum Input {
    /// A caller asks. The ticket is answered by exactly one `Effect::Reply`, now or later.
    Call {
        /// Who waits for the answer.
        ticket: Ticket,
        /// What is asked.
        call: Call,
    },
    /// The run has a process.
    Spawned {
        /// Which run.
        run: RunId,
        /// Its process.
        pid: Pid,
        /// `version` of the nearest package.json above the script, read anew for each run.
        version: Option<Box<str>>,
    },
    /// The run never had one.
    SpawnFailed {
        /// Which run.
        run: RunId,
        /// Why, naming the step and the path.
        reason: String,
    },
    /// The run never had one, because whoever was to start it was killed before. It is as good as not asked for.
    NeverSpawned {
        /// Which run.
        run: RunId,
    },
    /// The run said something on its IPC channel.
    Message {
        /// Which run.
        run: RunId,
        /// What it said.
        message: AppMessage,
    },
    /// The run said something in Node's own words on its IPC channel: a line with a `cmd` that begins with `NODE_`.
    Internal {
        /// Which run.
        run: RunId,
        /// The line: a JSON object.
        line: JsonText,
    },
    /// The run closed its IPC channel. Not said of one that has ended.
    Disconnected {
        /// Which run.
        run: RunId,
    },
    /// What became of `Effect::Listen`: the name the socket has (none at a path), or the error number, negative as Node has it.
    Listened {
        /// Which socket.
        socket: SocketId,
        /// Its name, or why it does not listen.
        result: Result<Option<SocketName>, i32>,
    },
    /// Connections wait at a watched socket. Said once per `Effect::Watch`.
    Waiting {
        /// Which socket.
        socket: SocketId,
    },
    /// What `Effect::Look` saw: how many connections wait.
    Queued {
        /// Which socket.
        socket: SocketId,
        /// How many.
        connections: u32,
    },
    /// What `Effect::Accept` or `Effect::Deal` gave.
    Accepted {
        /// From which socket.
        socket: SocketId,
        /// In the order in which they were made.
        arrivals: Vec<Arrival>,
        /// Whether none is left.
        is_empty: bool,
    },
    /// A connection that an earlier daemon had accepted, and of which it did not live to hear that a worker took it. Said after
    /// [`super::Supervisor::resume`].
    Inherited {
        /// Which connection.
        connection: ConnectionId,
        /// For whom.
        listener: ListenerId,
        /// To whom it was being handed last, and in which message. Whether that was sent is not known.
        handed: Option<(RunId, u64)>,
    },
    /// The run's process ended, and all its output has been read.
    Exited {
        /// Which run.
        run: RunId,
        /// How.
        exit: Exit,
    },
    /// After `Exited`: of everything that was signalled with the run, nothing lives any more. At once where nothing was.
    Drained {
        /// Which run.
        run: RunId,
    },
    /// What a run that [`super::Supervisor::memory_limited`] named uses, its descendants included.
    Measured {
        /// Which run.
        run: RunId,
        /// Resident bytes.
        memory_bytes: u64,
    },
    /// Files that a process watches have changed.
    Changed {
        /// Which process.
        id: PmId,
        /// One of them.
        path: Box<str>,
    },
    /// The moment `Supervisor::deadline` named has come. Harmless when early.
    Timeout,
}

/// Something a caller asks for. JSON arguments are given as the text that was received.
#[derive(Clone, Debug)]
pub enum Call {
    /// `prepare`: make and start the processes of one declaration.
    Prepare {
        /// The declaration: a JSON object.
        declaration: JsonText,
        /// A fresh UUID: the core has no randomness.
        unique_id: Box<str>,
    },
    /// `startProcessId`.
    Start(WireId),
    /// `stopProcessId`.
    Stop(WireId),
    /// `restartProcessId`.
    Restart {
        /// Which process.
        id: WireId,
        /// The `env` member of the argument: a JSON object.
        env: Option<JsonText>,
    },
    /// `reloadProcessId`. In fork mode a restart.
    Reload {
        /// Which process.
        id: WireId,
        /// The `env` member of the argument: a JSON object.
        env: Option<JsonText>,
    },
    /// `softReloadProcessId`. In fork mode a restart.
    SoftReload {
        /// Which process.
        id: WireId,
        /// The `env` member of the argument: a JSON object.
        env: Option<JsonText>,
    },
    /// `deleteProcessId`.
    Delete(WireId),
    /// `duplicateProcessId`.
    Duplicate {
        /// Which process.
        id: WireId,
        /// A fresh UUID.
        unique_id: Box<str>,
    },
    /// `resetMetaProcessId`.
    ResetMeta(WireId),
    /// `notifyByProcessId`.
    Notify {
        /// Which process; `None` when the member is missing.
        id: Option<WireId>,
        /// `action_name`: becomes `event`.
        action: Box<str>,
        /// Whether `manually` was given at all.
        manually: bool,
    },
    /// `sendSignalToProcessId`; the signal by name or number as text.
    SignalId {
        /// Which process.
        id: WireId,
        /// Name or number.
        signal: Box<str>,
    },
    /// `sendSignalToProcessName`.
    SignalName {
        /// Whose name.
        name: Box<str>,
        /// Name or number.
        signal: Box<str>,
    },
    /// `sendLineToStdin`: the packet as sent.
    SendLine(JsonText),
    /// `sendDataToProcessId`: the packet as sent.
    SendData(JsonText),
    /// `msgProcess`: the command as sent.
    MsgProcess(JsonText),
    /// `stopWatch`, with its two arguments.
    StopWatch {
        /// The method it is about, such as `stopProcessId` or `deleteAll`.
        method: Box<str>,
        /// That method's argument.
        value: JsonText,
    },
    /// `startWatch`, with its two arguments.
    StartWatch {
        /// The method it is about.
        method: Box<str>,
        /// That method's argument.
        value: JsonText,
    },
    /// `toggleWatch`, with its two arguments.
    ToggleWatch {
        /// The method it is about.
        method: Box<str>,
        /// That method's argument.
        value: JsonText,
    },
    /// `monitor`.
    Monitor(WireId),
    /// `unmonitor`.
    Unmonitor(WireId),
    /// `notifyKillPM2`: from now on nothing is restarted. Answered like every call; the wire method has no reply.
    NotifyKill,
    /// The daemon is to end: stop everything. Answered when nothing lives any more. Processes stay in the list.
    KillAll,
}

/// Something the daemon is to do, in this order.
#[derive(Debug, PartialEq)]
pub enum Effect {
    /// Start a process. Answer with `Spawned` or `SpawnFailed`.
    Spawn {
        /// Whose.
        id: PmId,
        /// The run to report about.
        run: RunId,
        /// What to start.
        plan: Box<SpawnPlan>,
    },
    /// Ask a run to end with this signal; with `tree`, all its descendants too.
    Terminate {
        /// Which run.
        run: RunId,
        /// Whether descendants get it, and are waited for by `Drained`.
        tree: bool,
        /// The signal.
        signal: Signal,
    },
    /// Ask a run to end with the string `shutdown` on its channel.
    TerminateMessage {
        /// Which run.
        run: RunId,
        /// Whether descendants that are left when it ends are waited for by `Drained`.
        tree: bool,
    },
    /// End with SIGKILL what is left of the run, its tree included if that was signalled.
    Kill {
        /// Which run.
        run: RunId,
    },
    /// Send a signal to the run's process alone.
    Signal {
        /// Which run.
        run: RunId,
        /// The signal.
        signal: Signal,
    },
    /// Write one JSON value to the run's IPC channel (the daemon adds the line feed).
    Send {
        /// Which run.
        run: RunId,
        /// The value.
        line: JsonText,
    },
    /// Write one JSON value to the run's IPC channel, with a copy of this listening socket.
    SendSocket {
        /// Which run.
        run: RunId,
        /// The value: an envelope as Node's.
        line: JsonText,
        /// Which socket.
        socket: SocketId,
    },
    /// Write one JSON value to the run's IPC channel, with a copy of this connection. If the daemon is killed, `Inherited` says so.
    SendConnection {
        /// Which run.
        run: RunId,
        /// The number of the message.
        seq: u64,
        /// The value: an envelope as Node's.
        line: JsonText,
        /// Which connection.
        connection: ConnectionId,
    },
    /// Have a connection outlive the daemon: it waits again. One that was not dealt out does so already.
    KeepConnection {
        /// Which connection.
        connection: ConnectionId,
    },
    /// Write one JSON value to the run's IPC channel, with a connection to nobody.
    SendProbe {
        /// Which run.
        run: RunId,
        /// The value: an envelope as Node's.
        line: JsonText,
    },
    /// Bind an address and listen. Answer with `Listened`.
    Listen {
        /// What to call it.
        socket: SocketId,
        /// Where, and in which way.
        address: Box<ListenAddress>,
    },
    /// Close a socket. Nothing more is said of it, not even if it could never be bound.
    CloseSocket {
        /// Which socket.
        socket: SocketId,
    },
    /// Close our copy of a connection.
    CloseConnection {
        /// Which connection.
        connection: ConnectionId,
    },
    /// Have each client's connections to the port of this socket come to the same one of the sockets there, by its address.
    Steer {
        /// Any of them.
        socket: SocketId,
        /// How many there are.
        sockets: u32,
    },
    /// Say once, with `Waiting`, when connections wait at this socket, which may be now.
    Watch {
        /// Which socket.
        socket: SocketId,
    },
    /// Say with `Queued` how many connections wait.
    Look {
        /// Which socket.
        socket: SocketId,
    },
    /// Accept as many of the waiting connections; answer with `Accepted`.
    Accept {
        /// From which socket.
        socket: SocketId,
        /// For whom: what `Inherited` says should this daemon be killed.
        listener: ListenerId,
        /// At most so many.
        max: u32,
    },
    /// Accept a connection for each of these workers, as long as some wait, and send it in the same instant; answer with `Accepted`.
    Deal {
        /// From which socket.
        socket: SocketId,
        /// As in `Accept`.
        listener: ListenerId,
        /// Who gets the first one, the second one…
        takers: Vec<Taker>,
    },
    /// From now on the run's descendants, if `tree`, are waited for by `Drained`. Nobody is signalled.
    Await {
        /// Which run.
        run: RunId,
        /// Whether descendants are meant.
        tree: bool,
    },
    /// Write this text to the run's stdin, as it is.
    Stdin {
        /// Which run.
        run: RunId,
        /// What to write.
        text: Box<str>,
    },
    /// Answer a caller.
    Reply {
        /// Whose ticket.
        ticket: Ticket,
        /// The value (the one element of `args`), or why not.
        result: Result<JsonText, Failure>,
    },
    /// Publish on the bus.
    Announce(BusEvent),
    /// Write to the daemon's log, and publish as `log:PM2` (`BusEvent::daemon_log`).
    Log {
        /// The line, without prefix or line feed.
        text: String,
        /// Whether it is an error line.
        is_error: bool,
    },
    /// Write the pid file, or remove it.
    PidFile {
        /// Where.
        path: String,
        /// `None`: remove.
        pid: Option<Pid>,
    },
    /// The process is not listed any more: drop its samples, files, records.
    Forget {
        /// Which.
        id: PmId,
    },
}
