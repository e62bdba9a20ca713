# Run by the suite's client process as if it were a unit: sources the true unit, untouched,
# after wrapping `test` so that a test named in TCL_COMPAT_SKIP is reported and not run, and
# a test that throws is named before the exception ends the unit as it always would. With
# TCL_COMPAT_KEEP_GOING the unit goes on instead, on a new connection.
fconfigure stdout -buffering line
set ::tcl_compat_skip [split $::env(TCL_COMPAT_SKIP) \n]
rename test suite_test
proc test {name args} {
    if {$name in $::tcl_compat_skip} {
        send_data_packet $::test_server_fd skip $name
        return
    }
    if {[catch {uplevel 1 [list suite_test $name {*}$args]} result options]} {
        if {$::env(TCL_COMPAT_KEEP_GOING)} {
            send_data_packet $::test_server_fd err "$name in $::curfile\n$result"
            catch reconnect
            return
        }
        send_data_packet $::test_server_fd abort $name
        return -options $options $result
    }
    return $result
}
# With several server threads, requests of two connections have no order, unless one client has
# read the other's answer. A test that lets a client wait (or sends EXEC, MONITOR or UNSUBSCRIBE without reading the
# reply), and at once lets another one push or publish, has no answer to read: this gives the first request the time
# to arrive.
if {$::env(TCL_COMPAT_SETTLE_MS) > 0} {
    rename ::redis::__dispatch__raw__ ::redis::suite_dispatch
    proc ::redis::__dispatch__raw__ {id method argv} {
        set result [uplevel 1 [list ::redis::suite_dispatch $id $method $argv]]
        if {[string tolower $method] in {blpop brpop brpoplpush exec monitor unsubscribe punsubscribe} && $::redis::deferred($id)} {
            after $::env(TCL_COMPAT_SETTLE_MS)
        }
        # A test that asks a replica next does not wait for what it was sent.
        if {[string tolower $method] eq {flushall}} {
            after $::env(TCL_COMPAT_SETTLE_MS)
        }
        return $result
    }
}
set ::curfile tests/$::env(TCL_COMPAT_UNIT).tcl
source $::curfile
