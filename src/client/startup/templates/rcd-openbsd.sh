#!/bin/ksh

daemon={{program}}
daemon_user={{user}}
pm2_command={{command}}

. /etc/rc.d/rc.subr

pid_file={{pid_file}}

rc_start() {
	${rcexec} "${pm2_command} resurrect"
}

rc_reload() {
	${rcexec} "${pm2_command} reload all"
}

rc_stop() {
	${rcexec} "${pm2_command} kill"
}

rc_check() {
	[ -f "${pid_file}" ] && kill -0 "$(cat "${pid_file}")" 2>/dev/null
}

rc_cmd $1
