#!/bin/sh
#
# chkconfig: 2345 80 20
# description: pm2, the processes of {{plain_user}}
# processname: pm2
#
### BEGIN INIT INFO
# Provides:          {{service}}
# Required-Start:    $local_fs $remote_fs
# Required-Stop:     $local_fs $remote_fs
# Should-Start:      $network
# Should-Stop:       $network
# Default-Start:     2 3 4 5
# Default-Stop:      0 1 6
# Short-Description: pm2, the processes of {{plain_user}}
### END INIT INFO

user={{user}}
pm2={{command}}
pid_file={{pid_file}}

# MAX_OPEN_FILES=65536, for example.
if [ -f /etc/default/{{service}} ]; then
    . /etc/default/{{service}}
fi
if [ -n "$MAX_OPEN_FILES" ]; then
    ulimit -n "$MAX_OPEN_FILES"
fi

run() {
    su -s /bin/sh "$user" -c "$pm2 $*"
}

is_running() {
    [ -f "$pid_file" ] && kill -0 "$(cat "$pid_file")" 2>/dev/null
}

case "$1" in
    start)
        run resurrect
        ;;
    stop)
        run kill
        ;;
    restart)
        run kill && run resurrect
        ;;
    reload | force-reload)
        run reload all
        ;;
    status)
        if is_running; then
            echo "pm2 is running"
        else
            echo "pm2 is not running"
            exit 3
        fi
        ;;
    *)
        echo "Usage: $0 {start|stop|restart|reload|force-reload|status}" >&2
        exit 2
        ;;
esac
