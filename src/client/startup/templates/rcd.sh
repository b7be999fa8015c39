#!/bin/sh

# PROVIDE: {{service}}
# REQUIRE: LOGIN NETWORKING
# KEYWORD: shutdown

. /etc/rc.subr

name="{{service}}"
rcvar="{{service}}_enable"

pm2_user={{user}}
pm2_command={{command}}
pidfile={{pid_file}}

start_cmd="run resurrect"
stop_cmd="run kill"
reload_cmd="run reload all"
status_cmd="pm2_status"
extra_commands="reload status"

run()
{
	# The user's shell may be another one, so it gets nothing but names.
	pm2_line="$pm2_command $*" su -m "$pm2_user" -c 'sh -c "$pm2_line"'
}

pm2_status()
{
	if [ -f "$pidfile" ] && kill -0 "$(cat "$pidfile")" 2>/dev/null; then
		echo "pm2 is running"
	else
		echo "pm2 is not running"
		return 1
	fi
}

load_rc_config "$name"
run_rc_command "$1"
