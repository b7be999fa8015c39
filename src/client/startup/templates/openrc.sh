#!/sbin/openrc-run

description={{description}}
extra_started_commands="reload"
pidfile={{pid_file}}

user={{user}}
pm2={{command}}

run() {
	su -s /bin/sh "$user" -c "$pm2 $*"
}

depend() {
	need localmount
	use net
	after bootmisc
}

start() {
	ebegin "Starting pm2"
	run resurrect
	eend $?
}

stop() {
	ebegin "Stopping pm2"
	run kill
	eend $?
}

reload() {
	ebegin "Reloading pm2"
	run reload all
	eend $?
}

status() {
	if [ -f "$pidfile" ] && kill -0 "$(cat "$pidfile")" 2>/dev/null; then
		einfo "status: started"
	else
		eerror "status: stopped"
		return 3
	fi
}
