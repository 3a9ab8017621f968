{{/* The programs: key in the values -> suffix of names, label, and the word for the executable. */}}
{{- define "flagschedule.programs" -}}
operator: {suffix: operator, component: operator, argument: operator}
processor: {suffix: processor, component: processor, argument: process}
cleanup: {suffix: cleanup, component: cleanup, argument: cleanup}
migrations: {suffix: migrate, component: migrations, argument: migrate}
test: {suffix: test, component: test}
{{- end }}

{{/* 41 characters at most: a CronJob's name has 52, and the longest suffix takes 10. */}}
{{- define "flagschedule.fullname" -}}
{{- $name := .Values.nameOverride | default .Chart.Name -}}
{{- $full := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) -}}
{{- .Values.fullnameOverride | default $full | trunc 41 | trimSuffix "-" -}}
{{- end }}

{{- define "flagschedule.namespace" -}}
{{- .Values.namespaceOverride | default .Release.Namespace -}}
{{- end }}

{{- define "flagschedule.name" -}}
{{- printf "%s-%s" (include "flagschedule.fullname" .root) .suffix -}}
{{- end }}

{{/* What never changes: for selectors. */}}
{{- define "flagschedule.selectorLabels" -}}
app.kubernetes.io/name: {{ .root.Values.nameOverride | default .root.Chart.Name | quote }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .component | quote }}
{{- end }}

{{- define "flagschedule.labels" -}}
app.kubernetes.io/name: {{ .root.Values.nameOverride | default .root.Chart.Name | quote }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: flagschedule
app.kubernetes.io/managed-by: {{ .root.Release.Service | quote }}
{{- with .component }}
app.kubernetes.io/component: {{ . | quote }}
{{- end }}
{{- end }}

{{/* The labels and annotations of an object. Takes root, component (may be absent), and more labels and annotations. */}}
{{- define "flagschedule.metadata" -}}
{{- $chart := printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" -}}
{{- $own := merge (include "flagschedule.labels" . | fromYaml) (dict "helm.sh/chart" $chart) (.labels | default dict) -}}
labels:
  {{- toYaml (merge $own .root.Values.commonLabels) | nindent 2 }}
{{- with merge (deepCopy (.annotations | default dict)) .root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Takes root and the program's key in the values. */}}
{{- define "flagschedule.serviceAccountName" -}}
{{- $account := (index .root.Values .program).serviceAccount -}}
{{- $suffix := (index (include "flagschedule.programs" . | fromYaml) .program).suffix -}}
{{- $made := include "flagschedule.name" (dict "root" .root "suffix" $suffix) -}}
{{- $account.name | default ($account.create | ternary $made "default") -}}
{{- end }}

{{/* A repository's first part is a registry if it has a dot or a port, or is localhost; without one it is Docker's. */}}
{{- define "flagschedule.image" -}}
{{- $tag := .Values.image.tag | default .Chart.AppVersion -}}
{{- $repository := .Values.image.repository -}}
{{- with .Values.global.imageRegistry -}}
{{- $repository = printf "%s/%s" (trimSuffix "/" .) (regexReplaceAll "^([^/]*[.:][^/]*|localhost)/" $repository "") -}}
{{- end -}}
{{- $repository }}:{{ $tag }}{{ with .Values.image.digest }}@{{ . }}{{ end -}}
{{- end }}

{{/* One program's pod settings: those of all, with the program's own added or put over them. */}}
{{- define "flagschedule.podSettings" -}}
{{- $general := .root.Values.pod -}}
{{- $own := (index .root.Values .program).pod -}}
{{- $merged := mergeOverwrite (deepCopy $general) (deepCopy $own) -}}
{{- range $list := list "envFrom" "tolerations" "hostAliases" "initContainers" "volumes" "volumeMounts" -}}
{{- $_ := set $merged $list (concat (get $general $list | default list) (get $own $list | default list)) -}}
{{- end -}}
{{- $replaced := list -}}
{{- range $own.env | default list -}}
{{- $replaced = append $replaced .name -}}
{{- end -}}
{{- $kept := list -}}
{{- range $general.env | default list -}}
{{- if not (has .name $replaced) -}}
{{- $kept = append $kept . -}}
{{- end -}}
{{- end -}}
{{- $_ := set $merged "env" (concat $kept ($own.env | default list)) -}}
{{- toYaml $merged -}}
{{- end }}

{{/* Variables FLAG_SCHEDULE_* for those values that are set. Takes a list of names, and the map that holds them. */}}
{{- define "flagschedule.settings" -}}
{{- $variables := list }}
{{- range $name := .names }}
{{- $value := index $.values $name }}
{{- if not (kindIs "invalid" $value) }}
{{- $text := kindIs "float64" $value | ternary (int64 $value) $value | toString }}
{{- $variables = append $variables (dict "name" (printf "FLAG_SCHEDULE_%s" (snakecase $name | upper)) "value" $text) }}
{{- end }}
{{- end }}
{{- with $variables }}
{{- toYaml . }}
{{- end }}
{{- end }}

{{/* A volume of certificates. Takes name and ca. */}}
{{- define "flagschedule.certificates" -}}
{{- if .ca.secretName }}
- name: {{ .name | quote }}
  secret:
    secretName: {{ .ca.secretName | quote }}
    items: [{key: {{ .ca.key | quote }}, path: ca.crt}]
{{- else if .ca.configMapName }}
- name: {{ .name | quote }}
  configMap:
    name: {{ .ca.configMapName | quote }}
    items: [{key: {{ .ca.key | quote }}, path: ca.crt}]
{{- end }}
{{- end }}

{{/* The Secret of a program's database role: name, and key or parts. Takes root and the program's key. */}}
{{- define "flagschedule.databaseSecret" -}}
{{- $shared := .root.Values.database.secret -}}
{{- $own := (index .root.Values .program).databaseSecret -}}
{{- $result := dict "name" ($own.name | default $shared.name) "key" "" "parts" dict -}}
{{- if or $own.parts (and $shared.parts (not $own.key)) -}}
{{- $_ := set $result "parts" ($own.parts | default $shared.parts) -}}
{{- else if or $own.key (not .root.Values.database.url) -}}
{{- $_ := set $result "key" ($own.key | default $shared.key) -}}
{{- end -}}
{{- if and .root.Values.database.url $result.parts.url -}}
{{- fail "database.url and the part `url` of a Secret are both set; remove one of them" -}}
{{- end -}}
{{- toYaml $result -}}
{{- end }}

{{/* What all pods have in common but for containers and volumes. Takes root and the settings of the pod. */}}
{{- define "flagschedule.podSpec" -}}
{{- $values := .root.Values -}}
{{- $pod := .pod -}}
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  {{- with $values.securityContext.runAsUser }}
  runAsUser: {{ int64 . }}
  {{- end }}
  {{- with $values.securityContext.runAsGroup }}
  runAsGroup: {{ int64 . }}
  {{- end }}
  {{- with $values.securityContext.fsGroup }}
  fsGroup: {{ int64 . }}
  {{- end }}
  {{- with $values.securityContext.supplementalGroups }}
  supplementalGroups:
    {{- range . }}
    - {{ int64 . }}
    {{- end }}
  {{- end }}
  seccompProfile: {type: RuntimeDefault}
{{- $secrets := list }}
{{- range concat ($values.global.imagePullSecrets | default list) $values.imagePullSecrets }}
{{- $secrets = append $secrets (kindIs "string" . | ternary (dict "name" .) .) }}
{{- end }}
{{- with uniq $secrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- range $key := list "priorityClassName" "runtimeClassName" "schedulerName" "dnsPolicy" }}
{{- with get $pod $key }}
{{ $key }}: {{ . | quote }}
{{- end }}
{{- end }}
{{- if not (kindIs "invalid" $pod.hostUsers) }}
hostUsers: {{ $pod.hostUsers }}
{{- end }}
{{- range $key := list "nodeSelector" "tolerations" "affinity" "hostAliases" "dnsConfig" "initContainers" }}
{{- with get $pod $key }}
{{ $key }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}

{{- define "flagschedule.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* Metadata and spec of a program's pods. Takes root, the program's key, and what else its container has: more
     variables (env), ports and probes (extra), and for the pod: podExtra, restartPolicy. */}}
{{- define "flagschedule.podTemplate" -}}
{{- $values := .root.Values }}
{{- $own := index $values .program }}
{{- $words := index (include "flagschedule.programs" . | fromYaml) .program }}
{{- $pod := include "flagschedule.podSettings" . | fromYaml }}
{{- $database := include "flagschedule.databaseSecret" . | fromYaml }}
{{- $usesRedis := and $values.redis.enabled (eq .program "processor") }}
{{- $webhook := and $values.webhook.urlSecret.name (eq .program "operator") }}
{{- $databaseCa := or $values.database.tls.ca.secretName $values.database.tls.ca.configMapName }}
{{- $redisCa := and $usesRedis (or $values.redis.tls.ca.secretName $values.redis.tls.ca.configMapName) }}
{{- $labels := include "flagschedule.labels" (dict "root" .root "component" $words.component) | fromYaml -}}
metadata:
  labels:
    {{- toYaml (merge $labels $pod.labels $values.commonLabels) | nindent 4 }}
  {{- with $pod.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ include "flagschedule.serviceAccountName" . | quote }}
  {{- if or (ne .program "operator") (not $own.serviceAccount.automount) }}
  automountServiceAccountToken: false
  {{- end }}
  {{- with .restartPolicy }}
  restartPolicy: {{ . | quote }}
  {{- end }}
  {{- with .podExtra }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- include "flagschedule.podSpec" (dict "root" .root "pod" $pod) | nindent 2 }}
  containers:
    - name: {{ $words.suffix | quote }}
      image: {{ include "flagschedule.image" .root | quote }}
      imagePullPolicy: {{ $values.image.pullPolicy | quote }}
      args: [{{ $words.argument }}]
      env:
        {{- if $database.key }}
        - name: DATABASE_URL
          valueFrom:
            secretKeyRef:
              name: {{ $database.name | quote }}
              key: {{ $database.key | quote }}
        {{- else if $values.database.url }}
        - name: DATABASE_URL
          value: {{ $values.database.url | quote }}
        {{- else if $database.parts.url }}
        - name: DATABASE_URL_FILE
          value: /etc/flagschedule/database/url
        {{- end }}
        {{- if omit $database.parts "url" }}
        - name: DATABASE_FOLDER
          value: /etc/flagschedule/database
        {{- end }}
        - name: PGSSLMODE
          value: {{ $values.database.tls.mode | quote }}
        {{- if $databaseCa }}
        - name: PGSSLROOTCERT
          value: /etc/flagschedule/database-ca/ca.crt
        {{- else if hasPrefix "verify-" $values.database.tls.mode }}
        - name: PGSSLROOTCERT
          value: /etc/ssl/certs/ca-certificates.crt
        {{- end }}
        {{- if $usesRedis }}
        - name: REDIS_URL
          {{- if $values.redis.url }}
          value: {{ $values.redis.url | quote }}
          {{- else }}
          valueFrom:
            secretKeyRef:
              name: {{ $values.redis.secret.name | default $values.database.secret.name | quote }}
              key: {{ $values.redis.secret.key | quote }}
              optional: {{ $values.redis.secret.optional }}
          {{- end }}
        {{- with $values.redis.secret.passwordKey }}
        - name: REDIS_PASSWORD
          valueFrom:
            secretKeyRef:
              name: {{ $values.redis.secret.name | default $values.database.secret.name | quote }}
              key: {{ . | quote }}
        {{- end }}
        {{- end }}
        {{- if $redisCa }}
        - name: SSL_CERT_FILE
          value: /etc/flagschedule/redis-ca/ca.crt
        {{- end }}
        {{- with .env }}
        {{- . | nindent 8 }}
        {{- end }}
        {{- $names := list "cluster" "maxRetries" "maxLatenessSeconds" "shortestIntervalSeconds" "logLevel" "logFormat" }}
        {{- with include "flagschedule.settings" (dict "names" $names "values" $values.settings) }}
        {{- . | nindent 8 }}
        {{- end }}
        {{- with include "flagschedule.settings" (dict "names" (.settings | default list) "values" $own) }}
        {{- . | nindent 8 }}
        {{- end }}
        {{- with $pod.env }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- with $pod.envFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .extra }}
      {{- . | nindent 6 }}
      {{- end }}
      resources:
        {{- toYaml $own.resources | nindent 8 }}
      securityContext:
        {{- include "flagschedule.containerSecurity" . | nindent 8 }}
      volumeMounts:
        - {name: tmp, mountPath: /tmp}
        {{- if $webhook }}
        - {name: webhook, mountPath: /etc/flagschedule/webhook, readOnly: true}
        {{- end }}
        {{- if $database.parts }}
        - {name: database, mountPath: /etc/flagschedule/database, readOnly: true}
        {{- end }}
        {{- if $databaseCa }}
        - {name: database-ca, mountPath: /etc/flagschedule/database-ca, readOnly: true}
        {{- end }}
        {{- if $redisCa }}
        - {name: redis-ca, mountPath: /etc/flagschedule/redis-ca, readOnly: true}
        {{- end }}
        {{- with $pod.volumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    - name: tmp
      emptyDir: {sizeLimit: 64Mi}
    {{- if $webhook }}
    - name: webhook
      projected:
        sources:
          - secret:
              name: {{ $values.webhook.urlSecret.name | quote }}
              items: [{key: {{ $values.webhook.urlSecret.key | quote }}, path: url}]
          - secret:
              name: {{ $values.webhook.signingSecret.name | default $values.webhook.urlSecret.name | quote }}
              items: [{key: {{ $values.webhook.signingSecret.key | quote }}, path: signing-keys}]
    {{- end }}
    {{- with $database.parts }}
    - name: database
      secret:
        secretName: {{ $database.name | quote }}
        items:
          {{- range $part, $key := . }}
          - {key: {{ $key | quote }}, path: {{ $part | quote }}}
          {{- end }}
    {{- end }}
    {{- if $databaseCa }}
    {{- include "flagschedule.certificates" (dict "name" "database-ca" "ca" $values.database.tls.ca) | nindent 4 }}
    {{- end }}
    {{- if $redisCa }}
    {{- include "flagschedule.certificates" (dict "name" "redis-ca" "ca" $values.redis.tls.ca) | nindent 4 }}
    {{- end }}
    {{- with $pod.volumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}

{{/* A program's ServiceAccount. Takes root, the program's key, and annotations. Only the operator needs its token. */}}
{{- define "flagschedule.serviceAccount" -}}
{{- $account := (index .root.Values .program).serviceAccount }}
{{- $words := index (include "flagschedule.programs" . | fromYaml) .program }}
{{- $annotations := merge (deepCopy $account.annotations) (.annotations | default dict) -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ include "flagschedule.serviceAccountName" . | quote }}
  namespace: {{ include "flagschedule.namespace" .root | quote }}
  {{- include "flagschedule.metadata" (dict "root" .root "component" $words.component "labels" $account.labels "annotations" $annotations) | nindent 2 }}
{{- if or (ne .program "operator") (not $account.automount) }}
automountServiceAccountToken: false
{{- end }}
{{- end }}

{{/* What a program may reach. Takes root, the program's key, and annotations. */}}
{{- define "flagschedule.networkPolicy" -}}
{{- $values := .root.Values }}
{{- $rules := $values.networkPolicy }}
{{- $words := index (include "flagschedule.programs" . | fromYaml) .program -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ include "flagschedule.name" (dict "root" .root "suffix" $words.suffix) | quote }}
  namespace: {{ include "flagschedule.namespace" .root | quote }}
  {{- include "flagschedule.metadata" (dict "root" .root "component" $words.component "annotations" .annotations) | nindent 2 }}
spec:
  podSelector:
    matchLabels:
      {{- include "flagschedule.selectorLabels" (dict "root" .root "component" $words.component) | nindent 6 }}
  policyTypes: [Ingress, Egress]
  {{- if eq .program "operator" }}
  ingress:
    - ports: [{port: 8080, protocol: TCP}]
      {{- with $rules.metricsFrom }}
      from:
        {{- toYaml . | nindent 8 }}
      {{- end }}
  {{- end }}
  egress:
    - ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]
      {{- with $rules.dns.to }}
      to:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    {{- if ne .program "test" }}
    - ports: [{port: {{ int $rules.postgres.port }}, protocol: TCP}]
      {{- with $rules.postgres.to }}
      to:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    {{- end }}
    {{- if and $values.redis.enabled (eq .program "processor") }}
    - ports: [{port: {{ int $rules.redis.port }}, protocol: TCP}]
      {{- with $rules.redis.to }}
      to:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    {{- end }}
    {{- if has .program (list "operator" "test") }}
    - ports:
        {{- range $rules.apiServer.ports }}
        - {port: {{ int . }}, protocol: TCP}
        {{- end }}
      {{- with $rules.apiServer.to }}
      to:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    {{- if and $values.webhook.urlSecret.name (eq .program "operator") }}
    - ports:
        {{- range $rules.webhook.ports }}
        - {port: {{ int . }}, protocol: TCP}
        {{- end }}
      {{- with $rules.webhook.to }}
      to:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    {{- end }}
    {{- end }}
    {{- with $rules.extraEgress }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}

{{/* Not empty where the policy that writes who created and changed an object is installed. */}}
{{- define "flagschedule.recordsActors" -}}
{{- $served := .Capabilities.APIVersions.Has "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy" -}}
{{- if and .Values.admissionPolicies.enabled .Values.admissionPolicies.recordActors $served }}true{{ end -}}
{{- end }}
