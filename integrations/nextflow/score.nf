// Objects of a Score server in Nextflow workflows, by score-client: include { SCORE_DOWNLOAD; SCORE_UPLOAD } from './score'
//
// Settings come from where score-client takes them: STORAGE_URL, METADATA_URL and ACCESSTOKEN in the environment.
// State is kept in params.score_state, a folder that outlives a task, so that a task that is tried again goes on where
// the first one was stopped. Exit status 5 means that the server or the store is away; 130 and 143 that it was stopped.

params.score_state = null
params.score_options = ''

def stateFolder(session) {
    params.score_state ?: "${session.workDir}/score-state"
}

process SCORE_DOWNLOAD {
    tag "${object_id}"
    errorStrategy { task.exitStatus in [5, 130, 143] ? 'retry' : 'finish' }
    maxRetries 3

    input:
    tuple val(meta), val(object_id)

    output:
    tuple val(meta), path('objects/*'), emit: files

    script:
    """
    score-client --quiet download --object-id '${object_id}' --output-dir '${stateFolder(workflow)}/${object_id}' ${params.score_options}
    mv '${stateFolder(workflow)}/${object_id}' objects
    """
}

// Nextflow writes the name of a file as a shell takes it; in quotes it would be another one.
process SCORE_UPLOAD {
    tag "${object_id}"
    errorStrategy { task.exitStatus in [5, 130, 143] ? 'retry' : 'finish' }
    maxRetries 3

    input:
    tuple val(meta), val(object_id), path(file), val(md5)

    output:
    tuple val(meta), val(object_id), emit: objects

    script:
    """
    score-client --quiet upload --object-id '${object_id}' --file ${file} ${md5 ? "--md5 '${md5}'" : ''} \\
        --client.uploadStateDir='${stateFolder(workflow)}' ${params.score_options}
    """
}
