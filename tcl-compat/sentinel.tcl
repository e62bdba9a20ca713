# Runs the suite's Sentinel tests, tests/sentinel/run.tcl, untouched, so that its output reads as
# that of a unit: wraps `test` and the end once the suite has defined them, and moves the ports.
fconfigure stdout -buffering line
set ::argv [list --single [file tail $::env(TCL_COMPAT_UNIT)]]
set ::tcl_compat_skip [split $::env(TCL_COMPAT_SKIP) \n]

# The suite's script sources the framework first.
rename source suite_source
proc source {file} {
    rename source {}
    rename suite_source source
    uplevel 1 [list source $file]
    wrap
}

proc wrap {} {
    set ::sentinel_base_port [expr {$::env(TCL_COMPAT_PORT) + 100}]
    set ::redis_base_port [expr {$::env(TCL_COMPAT_PORT) + 200}]
    rename test suite_test
    proc test {name code} {
        if {$name in $::tcl_compat_skip} {
            puts "\[skip\]: $name"
            return
        }
        set failed $::failed
        set ending [catch {uplevel 1 [list suite_test $name [list watched $code]]} result options]
        if {$ending == 1} {
            puts "\[abort\]: $name"
        } elseif {$::failed > $failed} {
            puts "\[err\]: $name in tests/\n$::tcl_compat_error\n"
        } else {
            puts "\[ok\]: $name"
        }
        dict incr options -level
        return -options $options $result
    }
    # Remembers why a test fails: the suite prints it before it is known to have failed.
    proc watched {code} {
        if {[catch {uplevel 1 $code} ::tcl_compat_error options]} {
            return -options $options $::tcl_compat_error
        }
    }
    # Sentinels that split their votes vote again after twice the failover's time limit, 40 s here. The suite waits 50 s
    # for all of a failover, which leaves no room for that.
    rename wait_for_condition suite_wait_for_condition
    proc wait_for_condition {maxtries delay e _else_ elsescript} {
        uplevel 1 [list suite_wait_for_condition [expr {3 * $maxtries}] $delay $e $_else_ $elsescript]
    }
    rename end_tests suite_end_tests
    proc end_tests {} {
        puts "\[1/1 done\]: $::env(TCL_COMPAT_UNIT)"
        suite_end_tests
    }
}

suite_source tests/sentinel/run.tcl
