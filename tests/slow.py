"The tests that `make test` leaves to `make test-all`, and why; the seconds are those of a processor"
import re

# Of each file: a pattern that the whole name of a test matches, and why
SLOW = {
    'test_wheel.py': {r'test_.*': 'a wheel and an sdist are made, 12 s'},
    'test_alone.py': {r'test_(all_of_it_ran|nobody_is_asked_for|nothing_is_left_in_a_fresh_home)': 'both pages, a workshop, and a minute in which nothing may happen'},
    'test_any_list.py': {r'test_a_model_is_made_judged_and_its_birds_mixed_up': 'three chapters with another list, two to three minutes'},
    'test_archive.py': {
        r'test_stopped_in_the_middle_it_goes_on\[(?!2-SIGKILL).*\]': 'an archive for each ending, 50 s; one stays'},
    'test_book.py': {r'test_(executed_again|a_failing_chapter_fails|a_misspelt_remark_fails|a_broken_reference_fails)': 'a book is built for each, 14 s'},
    'test_built.py': {r'test_.*': 'the whole book, which is built where `make book` has not done so, and a browser on nine of its pages'},
    'test_classify.py': {
        r'test_flat_memory': 'four hundred photographs, 18 s',
        r'test_any_size_and_mode\[(?!RGB|.*size[06]).*\]': 'every mode in every size; the extremes stay',
        r'test_a_grey_bird_is_never_sure\[(?!L|infrared JPEG).*\]': 'six kinds of grey, 10 s; three stay',
        r'test_speed': 'fifteen photographs in fresh processes, 7 s',
        r'test_what_a_camera_prints_on_a_grey_picture_is_no_colour\[(?!red-date|yellow-strip|dodgerblue-badge|red-frame).*\]': 'all colours in all places, 20 s; four stay',
        r'test_(other_birds_and_no_birds|birds_of_the_list|bad_images)': 'sweeps over ../shared, 20 s'},
    'test_clean.py': {r'test_twenty_thousand': 'twenty thousand rows'},
    'test_clean_page.py': {
        r'test_(for_all_eyes|two_people|a_kernel_that_is_killed)': 'three more visits, 21 s',
        r'test_pace_and_memory_until_the_server_is_gone': 'a long session and its memory, 21 s'},
    'test_cli.py': {
        r'test_(strange_names|a_page_without_anybody_to_read_its_address)(\[.*\])?': 'seven processes, 13 s',
        r'test_comparing': 'three trainings, two minutes',
        r'test_training_refuses_before_it_begins': 'fetches torch again and again, 14 s',
        r'test_one_hand_is_told_and_trained_on': 'a training, 15 s',
        r'test_three_hundred_files': 'three hundred photographs, 9 s'},
    'test_commands.py': {r'test_a_block_does_what_it_says\[.*search.*\]': 'from a question to a folder of photographs, 40 s'},
    'test_counter.py': {
        r'test_two_minutes_of_everything': 'two minutes',
        r'test_(a_worker_goes_with_its_server|so_many_a_minute)': 'fresh servers, 10 s'},
    'test_gathering.py': {
        r'test_ctrl_c_does_not_wait_for_a_server_that_trickles': 'a server that trickles, 10 s',
        r'test_bad_manners\[.*(slow|trickle|endless|huge).*\]': 'servers that take their time',
        r'test_a_(search|download)_that_is_killed': 'twenty-five kills each',
        r'test_memory_of_a_download.*': 'thousands of photographs',
        r'test_a_metadata_csv_that_cannot_be_read_is_one_sentence_and_nothing_is_lost\[(utf-16.*|no path|too many values|a .*|unreadable)\]': 'ten kinds, 16 s; three stay',
        r'test_an_import_is_no_search_however_it_ends': 'three imports in processes of their own, 5 s',
        r'test_ctrl_c_while_searching\[[1-9]\]': 'all but the first seed',
        r'test_any_sequence_of_changes\[[1-9]\d*\]': 'all but the first seed'},
    'test_cluster.py': {r'test_.*': 'a scheduler and its workers, 11 s'},
    'test_deploy.py': {
        r'test_the_command_serves_a_page\[(?!render).*\]': 'a server for each place, 4 s; one stays',
        r'test_what_the_container_is_made_of_is_enough': 'a wheel is made'},
    'test_notebooks.py': {
        r'test_notebook\[69_own_birds\]': 'a hundred large paintings, seven commands and three pages, a minute and more',
        r'test_notebook\[(23_clean|64_manifest_verbs)\]': 'pages and folders of photographs, 26 s',
        r'test_notebook\[69_own_birds\]': 'a hundred large paintings, and seven commands, a minute',
        r'test_notebook\[64_manifest_verbs\]': 'folders of photographs, 26 s',
        r'test_notebook\[12_download\]': 'a sick internet, 17 s',
        r'test_notebook\[20_verify\]': 'a folder of everything that can be wrong, 24 s',
        r'test_notebook\[40_backbone\]': 'all the pretrained networks, 28 s',
        r'test_notebook\[41_train\]': 'a training, 44 s',
        r'test_notebook\[42_compare\]': 'several trainings, two to three minutes',
        r'test_notebook\[43_export\]': 'a training and its export, 21 s',
        r'test_notebook\[44_evaluate\]': 'the last of the training chapters',
        r'test_notebook\[51_classify\]': 'hundreds of answers, 13 s',
        r'test_notebook\[70_deploy\]': 'a server and its visitors, 40 s',
        r'test_notebook\[90_testing\]': 'every painting in every size, 17 s'},
    'test_own_birds.py': {r'test_(from_an_empty_folder_to_a_page|a_portuguese_list_without_german_names|two_kinds_of_dogs)(\[.*\])?': 'six trainings, and pages'},
    'test_page.py': {
        r'test_(no_word_is_broken|no_word_of_ours_is_broken)': 'every name at every width, 22 s',
        r'test_(a_server_that_takes_its_time|kernels_that_died|large_files_that_are_refused)': 'waiting, 30 s',
        r'test_nasty_files': 'some hundred files that are no photographs, 110 s',
        r'test_(a_large_picture_is_made_smaller|what_the_browser_would_show_otherwise_is_sent_as_it_is)': 'every format, two minutes',
        r'test_(large_photographs_get_the_same_answer|real_photographs.*)': 'large photographs, or those of ../shared'},
    'test_photo.py': {
        r'test_no_format_needs_more_memory_than_was_measured\[.*\]': 'a process for every format, twice, 34 s',
        r'test_a_part_is_no_larger_than_needed\[(?!JPEG|PNG|four inks).*\]': 'every format in many sizes, 12 s; three stay',
        r'test_a_jpeg_without_its_end_is_one_if_its_pixels_are_there\[(?!RGB-plain|L-progressive).*\]': 'every kind of JPEG, 11 s; two stay',
        r'test_bombs': '900 million pixels, 13 s'},
    'test_proxies.py': {
        r'test_a_visitor_who_only_looks_for_longer_than_a_proxy_waits': 'looks for 70 s',
        r'test_a_photograph_that_takes_longer_than_a_proxy_waits': 'arrives within 66 s',
        r'test_(behind_caddy|one_that_ends_costs_nobody_else_a_visit|whoever_asks_too_often_is_told_so_whatever_he_claims)': 'one more server, and more pages, 20 s'},
    'test_pythons.py': {r'test_(it_is_that_python_and_all_is_there|it_names_a_bird|it_plans_a_search|it_opens_the_page)\[.*\]': 'installs 420 MB for each Python'},
    'test_serving.py': {
        r'test_(a_line_as_slow_as_in_a_valley|a_photo_that_is_stopped)': 'slow lines, two minutes',
        r'test_(nothing_is_written_into_a_home|a_start_up_script_for_those_who_type|without_sockets|without_websockets|somebody_whom_the_machine_does_not_know|a_library_that_is_broken)(\[.*\])?': 'another machine for each, 45 s',
        r'test_(left_and_come_back|tabs_are_visits_of_their_own|who_only_considers_leaving_stays|a_photo_that_is_cut)(\[.*\])?': 'visitors who take their time, 40 s',
        r'test_.*\[(.*-)?clean(-.*)?\]': 'the same door, in front of the other page',
        r'test_(a_line_that_breaks_and_comes_back|a_line_that_was_gone_for_too_long|robots_and_crashes.*|reloaded_five_times_and_closed.*)': 'half a minute of waiting each',
        r'test_(a_long_folder_for_temporary_files|another_model|installed_without_the_project|without_a_home|it_leaves_nothing)(\[.*\])?': 'a fresh server for each, 60 s'},
    'test_strangers.py': {r'test_a_model_is_judged_by_what_it_has_not_seen_and_says_so': 'a training, 13 s'},
    'test_things.py': {r'test_beside_the_page_the_network_answers': 'a site, and its network in a browser, 10 s'},
    'test_site.py': {
        r'test_real_photographs_get_the_same_answers\[.*\]': 'a hundred and thirty photographs, twice each',
        r'test_for_all_eyes\[.*\]': 'four looks with other eyes, 20 s'},
    'test_split.py': {
        r'test_twenty_thousand_in_seconds_and_the_small_sets_of_the_original': 'twenty thousand rows',
        r'test_shot_at_any_moment': 'killed again and again'},
    'test_suspect.py': {r'test_wrong_photographs_come_first': 'a sweep over ../shared'},
    'test_verify.py': {
        r'test_what_is_not_the_photographs_fault.*\[too slow.*\]': 'twice eight seconds, and twice more',
        r'test_a_store_that_is_not_ours_or_newer_is_refused_and_left_alone\[(?!verify-text|suspect-newer).*\]': 'six kinds before two commands, 13 s; two stay',
        r'test_shot_at_any_moment_it_goes_on_and_ends_as_if_nothing_had_happened': 'killed again and again',
        r'test_(what_a_search_engine_returns|nasty_files_do_no_harm)': 'sweeps over ../shared'},
    'test_train.py': {
        r'test_what_is_interrupted_goes_on_with_the_same_result': 'two trainings, 33 s',
        r'test_(what_is_killed_goes_on_with_the_same_result|two_processes_train_like_one|what_ships_has_learned_from_both_sides)': 'trainings'},
}

# Files whose tests share what takes long to make: a server, a browser, an installation. One process runs them.
GROUPS = {f'test_{name}.py' for name in ('alone', 'archive', 'built', 'clean_page', 'counter', 'page', 'proxies', 'pythons', 'report', 'serving', 'site', 'train', 'wheel')}


def together(nodeid):
    "What a test shares its process with: its file, or nobody"
    file = nodeid.partition('::')[0]
    return file if file.rpartition('/')[2] in GROUPS else nodeid


def why_slow(file, test):
    "The reason why `make test` leaves a test out; None if it does not"
    return next((why for pattern, why in SLOW.get(file, {}).items() if re.fullmatch(pattern, test)), None)
