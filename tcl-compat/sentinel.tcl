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
    calm
    # Sentinels that split their votes vote again after twice the failover's time limit, 40 s here. The suite waits 50 s
    # for all of a failover, which leaves no room for that.
    rename wait_for_condition suite_wait_for_condition
    proc wait_for_condition {maxtries delay e _else_ elsescript} {
        uplevel 1 [list suite_wait_for_condition [expr {3 * $maxtries}] $delay $e $_else_ $elsescript]
    }
    # The suite removes what its servers and Sentinels left; after a failure their logs are what a reader needs.
    rename cleanup suite_cleanup
    proc cleanup {} {
        foreach dir [glob -nocomplain $::memory/*] {
            if {$::failed > 0} {
                file delete [file tail $dir]
                file copy $dir [file tail $dir]
            }
        }
        if {$::failed > 0} {
            set ::dirs {}
        }
        file delete -force $::memory
        suite_cleanup
    }
    rename end_tests suite_end_tests
    proc end_tests {} {
        puts "\[1/1 done\]: $::env(TCL_COMPAT_UNIT)"
        suite_end_tests
    }
}

# Keeps a slow disk from deciding a test. A Sentinel synchronises its configuration before it tells its vote. If that takes
# longer than two of them begin an election apart, each has voted for itself by the time it is asked; they begin again
# 40 s later, the same time apart, and so on: all five votes never come together. And if it takes 2 s in sum, the Sentinel
# trusts its clock no longer and judges nobody for 30 s (TILT). A primary that dies meanwhile is thought down so much
# later than its replicas' links that none of them is fit any more, for good: the limit is the time it is thought down
# and 20 s. So Sentinels write to memory, and servers are killed only while every Sentinel watches and no replica waits
# for its first image.
proc calm {} {
    set ::memory /dev/shm/tcl-compat-$::env(TCL_COMPAT_PORT)
    catch {file delete -force $::memory}
    rename exec_instance suite_exec_instance
    proc exec_instance {type cfgfile} {
        set dir [file dirname $cfgfile]
        if {$type eq {sentinel} && [file type $dir] ne {link} && [file writable [file dirname $::memory]]} {
            file mkdir $::memory
            file copy $dir $::memory/$dir
            file delete -force $dir
            file link -symbolic $dir $::memory/$dir
        }
        suite_exec_instance $type $cfgfile
    }
    rename kill_instance suite_kill_instance
    proc kill_instance {type id} {
        if {$type eq {redis}} {
            patiently {[watched_well $id] && [followed_well $id]}
        }
        suite_kill_instance $type $id
    }
    # A primary that was away for a moment is thought down a little longer; then it must not be voted out by those who
    # are told only now that fewer votes are enough.
    rename restart_instance suite_restart_instance
    proc restart_instance {type id} {
        suite_restart_instance $type $id
        if {$type eq {redis}} {
            patiently {[watched_well $id]}
        }
    }
}

# Waits until a condition is true, but not for ever: then the test says what is wrong.
proc patiently {condition} {
    for {set tries 0} {$tries < 1200 && !([uplevel 1 [list expr $condition]])} {incr tries} {
        after 50
    }
}

# Whether all Sentinels that live trust their clocks, and hear this server if they take it for the primary.
proc watched_well {id} {
    set port [get_instance_attrib redis $id port]
    foreach_sentinel_id sentinel {
        if {[instance_is_killed sentinel $sentinel]} continue
        if {[SI $sentinel sentinel_tilt] != 0} {
            return 0
        }
        foreach primary [S $sentinel SENTINEL MASTERS] {
            if {[dict get $primary port] != $port} continue
            if {[dict get $primary flags] ne {master} || [dict get $primary last-ping-sent] != 0} {
                return 0
            }
        }
    }
    return 1
}

# Whether the replicas of this server have its data.
proc followed_well {id} {
    set port [get_instance_attrib redis $id port]
    foreach_redis_id other {
        if {$other == $id || [instance_is_killed redis $other]} continue
        if {[RI $other master_port] == $port && [RI $other master_link_status] ne {up}} {
            return 0
        }
    }
    return 1
}

suite_source tests/sentinel/run.tcl
